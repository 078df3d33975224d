"""`/api/v1/refusals`: who was refused, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from litestar import get
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import Limit, RefusalCursor, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.management import parse_moment
from fleetkey.management.schemas import RefusalPage
from fleetkey.registry import RefusalFilter, RefusalReason, RefusalStage, Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

__all__ = ["refusal_handlers"]

Claimed = Annotated[str | None, QueryParameter(description="Only records of clients that claimed exactly this.")]
Device = Annotated[str | None, QueryParameter(description="Only records that belong to the device with this id.")]
Address = Annotated[str | None, QueryParameter(description="Only records whose last refusal came from this address.")]
Stage = Annotated[RefusalStage | None, QueryParameter(description="Only records of this stage.")]
Why = Annotated[RefusalReason | None, QueryParameter(description="Only records with this reason.")]
Since = Annotated[
    str | None,
    QueryParameter(
        description="Only records with a refusal since then: how long ago (`24h`), a date, or an ISO 8601 date and "
        "time."
    ),
]


def refusal_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operation on refusal records."""

    @get("/refusals", opt={"role": Role.VIEWER}, responses=answers(200, RefusalPage, "Refusal records"))
    async def list_refusals(  # noqa: PLR0917 - parameters, which Litestar passes by name
        request: Asked,
        device_id: Device = None,
        serial: Claimed = None,
        key: Claimed = None,
        client_id: Claimed = None,
        address: Address = None,
        stage: Stage = None,
        reason: Why = None,
        since: Since = None,
        cursor: RefusalCursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List the refusal records that match all given filters, the one that changed last first."""
        wanted = RefusalFilter(
            device_id=device_id,
            serial=serial,
            key=key,
            client_id=client_id,
            address=address,
            stage=stage,
            reason=reason,
            since=None if since is None else parse_moment(since, now=datetime.now(UTC), field="since"),
        )
        return await answer_list(
            context.authorizer,
            request,
            lambda fleet, cursor, limit: fleet.refusals.newest(wanted, cursor=cursor, limit=limit),
            cursor=cursor,
            limit=limit,
        )

    return [list_refusals]
