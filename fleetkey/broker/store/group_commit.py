"""Group commit: the event loop notes statements, and a separate thread commits them every few milliseconds.

After each commit, its waiters are called, which is when acknowledgements are sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["GroupCommit"]

log = structlog.get_logger(__name__)

COMMIT_SECONDS = 0.005
"""How long notes are collected before a commit; the promise is 50 ms from note to acknowledgement."""
MAX_NOTES = 20_000
"""Notes that may wait; beyond that, connections that add more are not read from until a commit."""
MAX_NOTED_BYTES = 32 * 1024 * 1024
"""Payload bytes in waiting notes, with the same effect."""
MAX_WAITERS = 20_000
"""Acknowledgements that may wait for a commit, with the same effect."""
MAX_TOLD_PER_TURN = 256
"""Waiting acknowledgements that are called back per turn of the event loop."""
RETRY_SECONDS = 0.1
"""Interval between retries while the disk can't be written."""
MAX_KEPT = 100_000
"""Notes kept for a retry; beyond that, the oldest are discarded."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Payload bytes in notes kept for a retry; beyond that, the oldest are discarded."""

Statement = tuple[str, tuple[Any, ...], int]
"""SQL, its parameters, and the bytes of payload in them."""


class GroupCommit:
    """Takes statements on the event loop; from the first one on, only its thread uses the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fleetkey-broker-store")
        self._notes: list[Statement] = []
        self._kept: deque[Statement] = deque()
        self._kept_bytes = 0
        self._is_losing = False
        self._waiters: list[Callable[[bool], None]] = []
        self._told: deque[tuple[Callable[[bool], None], bool]] = deque()
        """Callbacks whose commit has ended, and its outcome; they are not all called in one turn."""
        self._is_telling = False
        self._noted_bytes = 0
        self._is_committing = False
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
            len(self._notes) > MAX_NOTES
            or self._noted_bytes > MAX_NOTED_BYTES
            or len(self._waiters) + len(self._told) > MAX_WAITERS
        )

    def since(self, before: int) -> int:
        """Return the position to wait for if anything was noted since `before`; 0 = nothing was."""
        return self.position if self.position != before else 0

    def note(self, sql: str, *parameters: Any, size: int = 0) -> None:
        """Note a statement for the next commit.

        Args:
            sql: the statement.
            parameters: its parameters.
            size: bytes of payload in them.
        """
        self._notes.append((sql, parameters, size))
        self._noted_bytes += size
        self.position += 1
        self._schedule()

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
        if self._timer is None and not self._is_committing:
            delay = RETRY_SECONDS if self.is_failing else COMMIT_SECONDS
            self._timer = asyncio.get_running_loop().call_later(delay, self._begin_commit)

    def _begin_commit(self) -> None:
        self._timer = None
        self._is_committing = True
        statements, self._notes = [*self._kept, *self._notes], []
        size, self._noted_bytes = self._kept_bytes + self._noted_bytes, 0
        position = self.position
        waiters, self._waiters = self._waiters, []
        loop = asyncio.get_running_loop()
        future = self._executor.submit(self._commit, statements)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(
                self._end_commit, done.exception(), statements, size, waiters, position
            )
        )

    def _commit(self, statements: list[Statement]) -> None:
        """Commit statements; runs in the store's thread."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, parameters, _ in statements:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _end_commit(
        self,
        error: BaseException | None,
        statements: list[Statement],
        size: int,
        waiters: list[Callable[[bool], None]],
        position: int,
    ) -> None:
        self._is_committing = False
        self._kept.clear()
        self._kept_bytes = 0
        if error is None:
            self.committed = position
            self._is_losing = False
            if self.is_failing:
                log.warning("broker_store_recovered")
        else:
            if not self.is_failing:
                log.error("broker_store_failed", error=str(error), meaning="what must be stored is not acknowledged")
            # None of it was acknowledged, but memory already has it: retry, so that the store matches memory.
            self._keep(statements, size)
            if self._is_losing:
                self.lost = position - len(self._kept)
        self.is_failing = error is not None
        if self._notes or self._waiters or self._kept:
            self._schedule()
        self._told.extend((waiter, error is None) for waiter in waiters)
        if self._told and not self._is_telling:
            self._tell()

    def _keep(self, statements: list[Statement], size: int) -> None:
        """Keep statements, with `size` bytes of payload, for the next try; if there are too many, the newest."""
        kept = self._kept
        kept.extend(statements)
        while len(kept) > MAX_KEPT or size > MAX_KEPT_BYTES:
            size -= kept.popleft()[2]
            if not self._is_losing:
                self._is_losing = True
                log.error("broker_store_overflowed", meaning="some pending changes will be lost at a restart")
        self._kept_bytes = size

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
