"""Deletes stored sessions that have ended, once notes of their deletion may have been lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleetkey.broker.ending_sessions import EndingSessions
    from fleetkey.broker.session import Session
    from fleetkey.broker.store import BrokerStore
    from fleetkey.broker.work import WorkQueue

__all__ = ["SessionCleanup"]

log = structlog.get_logger(__name__)

MAX_ROWS_PER_COMMIT = 500
"""Live sessions compared with the stored ones per commit, so that no commit takes long."""
ROWS_PER_UNIT = 16


class SessionCleanup:
    """Deletes every stored session that isn't in memory, once the store works again after it lost notes."""

    def __init__(self, store: BrokerStore, ending: EndingSessions, work: WorkQueue) -> None:
        self._store = store
        self._ending = ending
        self._work = work
        self._is_running = False

    def start_if_due(self, live: Iterable[Session]) -> None:
        """Start, unless nothing was lost, the store is failing, or it runs already."""
        store = self._store
        if self._ending.has_lost and not store.is_failing and not self._is_running:
            self._is_running = True
            # Later sessions have larger rows, and notes of later deletions have larger positions.
            self._work.do_later(self._compare(list(live), store.last_session, store.position))

    def _compare(self, live: list[Session], last_row: int, position: int) -> Iterator[int]:
        """Find the rows of the live sessions: a job for `WorkQueue`."""
        rows: list[int] = []
        for start in range(0, len(live), ROWS_PER_UNIT):
            rows += [session.row for session in live[start : start + ROWS_PER_UNIT] if session.row]
            yield 1
        # They are almost in order.
        rows.sort()
        self._delete(rows, 0, 0, last_row, position)

    def _delete(self, rows: list[int], at: int, after: int, last_row: int, position: int) -> None:
        """Note the deletion of what is between the next few rows, and go on once that is committed."""
        store = self._store
        kept = rows[at : at + MAX_ROWS_PER_COMMIT]
        at += len(kept)
        up_to = kept[-1] if at < len(rows) else last_row
        store.drop_sessions_between(after, up_to, kept)

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            if is_stored and at < len(rows):
                self._delete(rows, at, up_to, last_row, position)
                return
            self._is_running = False
            # Otherwise it starts again, as this piece may be lost too.
            if is_stored:
                self._ending.cleaned(position)
                log.info("broker_store_cleaned", meaning="sessions that ended while it failed are deleted")

        store.after_commit(committed)
