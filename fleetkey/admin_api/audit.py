"""`/api/v1/audit`: who did what, and with what outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from litestar import get
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import AuditCursor, Limit, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.management import AuditAction, AuditOutcome, parse_moment
from fleetkey.management.schemas import AuditPage
from fleetkey.registry import AuditFilter, Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

__all__ = ["audit_handlers"]


class Order(StrEnum):
    """Which entries come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


Text = Annotated[str | None, QueryParameter(description="Only entries with exactly this value.")]
# Strings to Litestar, so that the service refuses unknown words, with the same message as on the command line.
What = Annotated[
    str | None,
    QueryParameter(description="Only entries with this action.", schema_extra={"enum": [*map(str, AuditAction)]}),
]
How = Annotated[
    str | None,
    QueryParameter(description="Only entries with this outcome.", schema_extra={"enum": [*map(str, AuditOutcome)]}),
]
Address = Annotated[str | None, QueryParameter(description="Only entries from this IP address.")]
Who = Annotated[
    str | None,
    QueryParameter(
        description="Only entries by this actor; `cli` matches every user of the command line, `api` every token."
    ),
]
Since = Annotated[
    str | None,
    QueryParameter(description="Only entries since then: how long ago (`24h`), a date, or an ISO 8601 date and time."),
]
Until = Annotated[str | None, QueryParameter(description="Only entries before then, in the same format.")]
First = Annotated[
    Order,
    QueryParameter(
        description="Which entries come first. `oldest` always returns a `next_cursor`, to ask for new entries later."
    ),
]


def audit_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operation on the audit log."""

    @get("/audit", opt={"role": Role.VIEWER}, responses=answers(200, AuditPage, "Audit entries"))
    async def list_audit(  # noqa: PLR0917 - parameters, which Litestar passes by name
        request: Asked,
        actor: Who = None,
        action: What = None,
        outcome: How = None,
        address: Address = None,
        serial: Text = None,
        device_id: Text = None,
        key: Text = None,
        since: Since = None,
        until: Until = None,
        order: First = Order.NEWEST,
        cursor: AuditCursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List the audit entries that match all given filters."""
        wanted = AuditFilter(
            actor=actor,
            action=action,
            outcome=outcome,
            address=address,
            serial=serial,
            device_id=device_id,
            key=key,
            since=_moment(since, "since"),
            until=_moment(until, "until"),
        )
        return await answer_list(
            context.authorizer,
            request,
            lambda fleet, cursor, limit: (fleet.audit.newest if order is Order.NEWEST else fleet.audit.oldest)(
                wanted, cursor=cursor, limit=limit
            ),
            cursor=cursor,
            limit=limit,
        )

    return [list_audit]


def _moment(text: str | None, field: str) -> int | None:
    return None if text is None else parse_moment(text, now=datetime.now(UTC), field=field)
