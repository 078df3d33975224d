"""The audit as operators read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import Page, check_limit, position_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fleetkey.registry import AuditFilter, AuditRecord, Store

__all__ = ["AuditService"]

PAGE = 500
MAX_NEWEST = 1_000_000


class AuditService:
    """Reads the audit; nothing in it changes. Every method blocks.

    Errors of every method: `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self, wanted: AuditFilter, *, limit: int = 100) -> Sequence[AuditRecord]:
        """Return the newest entries that match, oldest first."""
        if not 0 <= limit <= MAX_NEWEST:
            raise InvalidRequestError("limit", f"0 to {MAX_NEWEST} entries, not {limit}")
        _check(wanted)
        return self._store.last_audit(limit, wanted) if limit else []

    def page(self, wanted: AuditFilter, *, cursor: str | None = None, limit: int = 100) -> Page[AuditRecord]:
        """Return a page of entries that match, oldest first, beginning after a cursor that an earlier page gave."""
        check_limit(limit)
        _check(wanted)
        found = self._store.find_audit(wanted, after=position_from(cursor), limit=limit)
        return Page(items=found.records, next_cursor=str(found.position) if found.has_more else None)

    def iterate(
        self, wanted: AuditFilter, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[AuditRecord]:
        """Yield all entries that match, oldest first, in bounded memory.

        What is added meanwhile isn't waited for: it ends at the entry that was the newest at the beginning.
        `on_progress` is told how many entries were looked at, and of how many.
        """
        _check(wanted)
        oldest, newest = self._store.audit_bounds()
        position = max(oldest - 1, 0)
        while position < newest:
            found = self._store.find_audit(wanted, after=position, limit=PAGE)
            for record in found.records:
                if record.seq > newest:
                    return
                yield record
            position = found.position
            if on_progress is not None:
                on_progress(min(position, newest) - oldest + 1, newest - oldest + 1)

    def follow(self, wanted: AuditFilter, *, after: int) -> tuple[Sequence[AuditRecord], int, bool]:
        """Return what was added behind a position, the position to go on from, and whether there is more already."""
        found = self._store.find_audit(wanted, after=after, limit=PAGE)
        return found.records, found.position, found.has_more

    def position(self) -> int:
        """Return the position of the newest entry."""
        return self._store.audit_bounds()[1]


def _check(wanted: AuditFilter) -> None:
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise InvalidRequestError("until", "the end is not after the beginning (since)")
