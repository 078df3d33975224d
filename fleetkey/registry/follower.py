"""Following the change feed in a thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from fleetkey.registry.errors import StoreError
from fleetkey.registry.model import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.registry.store import ChangeFeed

__all__ = ["ChangeFollower"]

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
BATCH = 1000
RETRY_SECONDS = 0.5


class ChangeFollower:
    """Passes every committed change to a callback, in order: this process's at once, others' within `POLL_SECONDS`.

    The callback runs in the follower's thread and must not raise. If the feed can't be read, or changes were dropped
    before they were read, it gets one `ChangeKind.RESET`: everything may have changed, so nothing cached may be
    trusted.
    """

    def __init__(self, store: ChangeFeed, on_changes: Callable[[Sequence[Change]], None]) -> None:
        self._store = store
        self._on_changes = on_changes
        self._wake = threading.Event()
        self._stopping = False
        self._position = store.change_bounds()[1]
        self._forget = store.on_committed(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="fleetkey-changes", daemon=True)

    @property
    def position(self) -> int:
        """The position of the newest change that was passed on, which is or was just now the end of the feed."""
        return self._position

    def start(self) -> None:
        """Start following, from the position at which the follower was created."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended, or after 5 s."""
        self._stopping = True
        self._forget()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._follow()
                continue
            except StoreError as error:
                log.error("change_feed_unreadable", error=str(error))  # noqa: TRY400 - the message says it all
            except Exception:
                # Whatever the error: without this thread, no revocation would be noticed any more.
                log.exception("change_feed_failed")
            self._on_changes([Change(seq=self._position, at=0, kind=ChangeKind.RESET)])
            self._wake.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        watch = self._store.watch()
        try:
            self._drain()
            while not self._stopping:
                woken = self._wake.wait(POLL_SECONDS)
                self._wake.clear()
                if self._stopping:
                    return
                if watch.has_news() or woken:
                    self._drain()
        finally:
            watch.close()

    def _drain(self) -> None:
        oldest, newest = self._store.change_bounds()
        if oldest > self._position + 1 and newest > self._position:
            self._position = newest
            self._on_changes([Change(seq=newest, at=0, kind=ChangeKind.RESET)])
            return
        while not self._stopping:
            changes = self._store.changes_after(self._position, limit=BATCH)
            if changes:
                self._position = changes[-1].seq
                self._on_changes(changes)
            if len(changes) < BATCH:
                return
