"""The audit log of a remote server."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fleetkey.management import MAX_PAGE, Page, PositionList, parse_position, position_cursor
from fleetkey.management.schemas import AuditPage, when
from fleetkey.registry import AuditFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management.schemas import AuditAnswer

__all__ = ["RemoteAudit"]

EVERYTHING = AuditFilter()


class RemoteAudit:
    """What `AuditService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def newest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditAnswer]:
        """Return a page of entries, newest first."""
        return self._page("newest", wanted, cursor, limit)

    def oldest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditAnswer]:
        """Return a page of entries, oldest first."""
        return self._page("oldest", wanted, cursor, limit)

    def iterate(
        self, wanted: AuditFilter, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[AuditAnswer]:
        """Yield all entries that match and exist now, oldest first, a page at a time."""
        oldest = next((record.seq for record in self.oldest(limit=1).items), 1)
        newest = next((record.seq for record in self.newest(limit=1).items), 0)
        position = oldest - 1
        while position < newest:
            page = self.oldest(wanted, cursor=position_cursor(PositionList.AUDIT, position), limit=MAX_PAGE)
            for record in page.items:
                if record.seq > newest:
                    return
                yield record
            reached = parse_position(PositionList.AUDIT, page.next_cursor)
            if reached <= position:
                return
            position = reached
            if on_progress is not None:
                on_progress(min(position, newest) - oldest + 1, newest - oldest + 1)

    def _page(self, order: str, wanted: AuditFilter, cursor: str | None, limit: int) -> Page[AuditAnswer]:
        query = {
            **asdict(wanted),
            "since": when(wanted.since),
            "until": when(wanted.until),
            "order": order,
            "cursor": cursor,
            "limit": limit,
        }
        page = self._client.ask("GET", "audit", AuditPage, query=query)
        return Page(items=tuple(page.items), next_cursor=page.next_cursor)
