"""`/api/v1/audit`: who did what, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from litestar import get
from litestar.params import QueryParameter

from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import AuditCursor, Limit, answers
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.management import AuditAction, AuditOutcome, parse_moment
from fleetkey.management.schemas import AuditPage
from fleetkey.registry import AuditFilter, Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

__all__ = ["audit_handlers"]


class Order(StrEnum):
    """From which end."""

    NEWEST = "newest"
    OLDEST = "oldest"


Text = Annotated[str | None, QueryParameter(description="Only entries with just this.")]
# Texts to Litestar: what is no such word is refused in the service's words, as on the command line.
What = Annotated[
    str | None,
    QueryParameter(description="Only entries of this action.", schema_extra={"enum": [*map(str, AuditAction)]}),
]
How = Annotated[
    str | None,
    QueryParameter(description="Only entries that ended so.", schema_extra={"enum": [*map(str, AuditOutcome)]}),
]
Address = Annotated[str | None, QueryParameter(description="Only entries from this IP address.")]
Who = Annotated[
    str | None,
    QueryParameter(description="Only entries of this actor; `cli` stands for every user of it, `api` for every token."),
]
Since = Annotated[
    str | None,
    QueryParameter(description="From then on: how long ago (`24h`), a date, or a date and time in ISO 8601."),
]
Until = Annotated[str | None, QueryParameter(description="Before then, likewise.")]
First = Annotated[
    Order,
    QueryParameter(description="What comes first. `oldest` always has a `next_cursor`: ask again for what came since."),
]


def audit_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operation on the audit."""

    @get("/audit", opt={"role": Role.VIEWER}, responses=answers(200, AuditPage, "Audit entries"))
    async def list_audit(  # noqa: PLR0917 - parameters, which Litestar hands over by name
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
    ) -> Answer:
        """List the audit entries that match everything that is given."""
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
        page = await context.authorizer.run(
            request,
            lambda fleet, _: (fleet.audit.newest if order is Order.NEWEST else fleet.audit.oldest)(
                wanted, cursor=cursor, limit=limit
            ),
        )
        return as_json(page)

    return [list_audit]


def _moment(text: str | None, field: str) -> int | None:
    return None if text is None else parse_moment(text, now=datetime.now(UTC), field=field)
