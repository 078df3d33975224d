"""Group commit: the event loop notes statements, and a separate thread commits them every few milliseconds.

After each commit, its waiters are called, which is when acknowledgements are sent.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import structlog

from fleetkey.broker.store.pending_notes import Effect, PendingNotes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Hashable, Mapping

    from fleetkey.broker.store.pending_notes import Note

__all__ = ["GroupCommit"]

log = structlog.get_logger(__name__)

COMMIT_SECONDS = 0.005
"""How long notes are collected before a commit; the promise is 50 ms from note to acknowledgement."""
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Memory of all notes that wait, are being committed, or are kept because the disk can't be written; beyond that, the
oldest are discarded. At half of it, connections that add more are not read from until a commit."""
NOTE_BYTES = 380
"""Memory of a note without its parameters."""
VALUE_BYTES = 16
"""Memory of one parameter, besides its payload or text."""
MAX_PENDING_NOTES = 100
"""Notes that may wait for the next commit; beyond that, clients that note more wait for it, and it begins as soon as it
can. So no commit takes long, and nobody waits for more than the one that is under way and the next."""
MAX_PENDING_BYTES = 256 * 1024
"""Memory of those notes, with the same effect."""
MIN_BULK_ROWS = 8
"""Rows from which on a statement is executed for all of them at once, if that is possible."""
MAX_WAITERS = 20_000
"""Acknowledgements that may wait for a commit, with the same effect."""
MAX_TOLD_PER_TURN = 256
"""Waiting acknowledgements that are called back per turn of the event loop."""
RETRY_SECONDS = 0.1
"""Interval between retries while the disk can't be written."""


class GroupCommit:
    """Takes statements on the event loop; from the first one on, only its thread uses the connection."""

    def __init__(self, connection: sqlite3.Connection, bulk: Mapping[str, str]) -> None:
        """Use a connection.

        Args:
            connection: the connection.
            bulk: statements that can be executed for many rows at once, each with the one that takes them as JSON.
        """
        self._connection = connection
        self._bulk = bulk
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fleetkey-broker-store")
        self._pending = PendingNotes()
        self._committing = PendingNotes()
        self._is_losing = False
        self._waiters: list[Callable[[bool], None]] = []
        self._told: deque[tuple[Callable[[bool], None], bool]] = deque()
        """Callbacks whose commit has ended, and its outcome; they are not all called in one turn."""
        self._is_telling = False
        self._is_committing = False
        self._is_hurrying = False
        """Whether the next turn of the event loop begins a commit."""
        self._timer: asyncio.TimerHandle | None = None
        self.position = 0
        """How many statements have been noted; comparing it with an earlier value tells whether any were since."""
        self.committed = 0
        """The position up to which everything is committed, except for lost notes."""
        self.lost = 0
        """The position up to which notes may have been lost because there were too many to keep; 0 = none."""
        self.is_failing = False
        """Whether the last commit failed; nothing that must be stored is acknowledged until one succeeds."""

    @property
    def is_behind(self) -> bool:
        """Whether too much is waiting for a commit."""
        return (
            self._is_full
            or self.waiting_bytes > MAX_WAITING_BYTES // 2
            or len(self._waiters) + len(self._told) > MAX_WAITERS
        )

    @property
    def _is_full(self) -> bool:
        """Whether the next commit has as much to write as one may."""
        return len(self._pending) > MAX_PENDING_NOTES or self._pending.size > MAX_PENDING_BYTES

    @property
    def waiting_bytes(self) -> int:
        """The memory of everything that isn't committed yet; at most `MAX_WAITING_BYTES` after a failed commit."""
        return self._pending.size + self._committing.size

    @property
    def own_bytes(self) -> int:
        """The part of `waiting_bytes` that nothing else keeps as well."""
        return self.waiting_bytes - self._pending.shared - self._committing.shared

    def since(self, before: int) -> int:
        """Return the position to wait for if anything was noted since `before`; 0 = nothing was."""
        return self.position if self.position != before else 0

    def note(
        self,
        sql: str,
        *parameters: Any,
        size: int = 0,
        key: Hashable = None,
        effect: Effect = Effect.CHANGES,
        shared: int = 0,
    ) -> None:
        """Note a statement for the next commit.

        Args:
            sql: the statement.
            parameters: its parameters.
            size: bytes of payload and text in them.
            key: stands for the row that it writes; it takes the place of an earlier note with the same key.
            effect: what it does to that row.
            shared: how many of the bytes something else keeps as well, and is charged for, until the row is removed.
        """
        self.position = position = self.position + 1
        size += NOTE_BYTES + VALUE_BYTES * len(parameters)
        self._pending.add(key or position, (sql, parameters, size, position, effect, shared))
        if effect is Effect.REMOVES and self._is_committing:
            self._committing.unshare(key)
        self._schedule()

    def take_back(self, key: Hashable) -> None:
        """Take back a note that waits, as a later one makes it pointless."""
        self._pending.discard(key)

    def after_commit(self, callback: Callable[[bool], None]) -> None:
        """Call `callback` with whether everything noted so far could be committed."""
        self._waiters.append(callback)
        self._schedule()

    async def close(self) -> None:
        """Commit pending notes and close the connection; nothing may be noted after this."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.after_commit(done.set_result)
        await done
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown(wait=True)
        self._connection.close()

    def _schedule(self) -> None:
        """Begin a commit in `COMMIT_SECONDS`; as soon as possible if it is full."""
        if self._is_committing or self._is_hurrying:
            return
        if self._timer is None:
            delay = RETRY_SECONDS if self.is_failing else COMMIT_SECONDS
            self._timer = asyncio.get_running_loop().call_later(delay, self._begin_commit)
        if self._is_full and not self.is_failing:
            self._timer.cancel()
            self._is_hurrying = True
            asyncio.get_running_loop().call_soon(self._begin_commit)

    def _begin_commit(self) -> None:
        self._timer = None
        self._is_hurrying = False
        self._is_committing = True
        self._committing, self._pending = self._pending, PendingNotes()
        position = self.position
        waiters, self._waiters = self._waiters, []
        if not self._committing and not self.is_failing:
            # What was noted was taken back, or has no effect.
            self._end_commit(None, waiters, position)
            return
        loop = asyncio.get_running_loop()
        future = self._executor.submit(self._commit, self._committing.all())
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._end_commit, done.exception(), waiters, position)
        )

    def _commit(self, notes: list[Note]) -> None:
        """Commit notes; runs in the store's thread."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, alike in groupby(notes, key=itemgetter(0)):
                self._execute(sql, [parameters for _, parameters, *_ in alike])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _execute(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        """Execute a statement for each row of parameters, or for all at once: then the event loop isn't interrupted."""
        bulk = self._bulk.get(sql)
        if bulk is not None and len(rows) >= MIN_BULK_ROWS:
            self._connection.execute(bulk, (json.dumps(rows),))
        else:
            for parameters in rows:
                self._connection.execute(sql, parameters)

    def _end_commit(
        self,
        error: BaseException | None,
        waiters: list[Callable[[bool], None]],
        position: int,
    ) -> None:
        self._is_committing = False
        failed, self._committing = self._committing, PendingNotes()
        if error is None:
            self.committed = position
            self._is_losing = False
            if self.is_failing:
                log.warning("broker_store_recovered")
        else:
            if not self.is_failing:
                log.error("broker_store_failed", error=str(error), meaning="what must be stored is not acknowledged")
            # None of it was acknowledged, but memory already has it: retry, so that the store matches memory.
            failed.extend(self._pending)
            self._pending = failed
            self._bound()
        self.is_failing = error is not None
        # While it fails, additions are refused, so nothing else might try again.
        if self._pending or self._waiters or self.is_failing:
            self._schedule()
        self._told.extend((waiter, error is None) for waiter in waiters)
        if self._told and not self._is_telling:
            self._tell()

    def _bound(self) -> None:
        """Discard the oldest notes if they take too much memory."""
        discarded = self._pending.discard_oldest(MAX_WAITING_BYTES)
        if discarded:
            self.lost = max(self.lost, discarded)
            if not self._is_losing:
                self._is_losing = True
                log.error("broker_store_overflowed", meaning="some pending changes will be lost at a restart")

    def _tell(self) -> None:
        """Call the waiting callbacks in order, up to `MAX_TOLD_PER_TURN` per turn of the event loop."""
        told = self._told
        try:
            for _ in range(min(len(told), MAX_TOLD_PER_TURN)):
                waiter, is_stored = told.popleft()
                waiter(is_stored)
        finally:
            # Even if one raised unexpectedly: the loop logs it, and the others must not wait forever.
            self._is_telling = bool(told)
            if told:
                asyncio.get_running_loop().call_soon(self._tell)
