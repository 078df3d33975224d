"""Reading the audit: who did what, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import Page, PositionList, check_limit, parse_position, position_cursor
from fleetkey.registry import AuditEntry, AuditFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.registry import AuditRecord, Store

__all__ = ["AuditService"]

PAGE = 500
MAX_SCANNED = 5000
"""Entries that are held against a filter for one page."""
EVERYTHING = AuditFilter()
OUTCOMES = ("ok", "refused", "pending")
"""How an entry may say that something ended."""


class AuditService:
    """Reads the audit; nothing in it changes. Every method blocks.

    Errors of every method: `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditRecord]:
        """Return a page of entries, newest first, going on before a cursor that an earlier page gave."""
        check_limit(limit)
        _check(wanted)
        before = None if cursor is None else parse_position(PositionList.AUDIT, cursor)
        found, reached = self._store.scan_audit(wanted, before=before, limit=limit, max_scanned=MAX_SCANNED)
        following = None if reached is None else position_cursor(PositionList.AUDIT, reached)
        return Page(items=tuple(found), next_cursor=following)

    def oldest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditRecord]:
        """Return a page of entries, oldest first, after a cursor; there always is a next one, since more may come."""
        check_limit(limit)
        _check(wanted)
        after = parse_position(PositionList.AUDIT, cursor)
        found, reached = self._store.scan_audit(wanted, after=after, limit=limit, max_scanned=MAX_SCANNED)
        return Page(items=tuple(found), next_cursor=position_cursor(PositionList.AUDIT, reached or 0))

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

    def record(self, entry: AuditEntry) -> None:
        """Append an entry about something that changed nothing, such as a refusal."""
        self._store.record(entry)


def _check(wanted: AuditFilter) -> None:
    if wanted.outcome not in {None, *OUTCOMES}:
        raise InvalidRequestError("outcome", f"{(wanted.outcome or '')[:64]!r} is none of {', '.join(OUTCOMES)}")
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise InvalidRequestError("until", "the end is not after the beginning (since)")
