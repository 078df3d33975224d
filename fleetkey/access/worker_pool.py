"""Threads for work that blocks, in bounded numbers: hashing, and reading the registry."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fleetkey.access.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkerPool"]

P = ParamSpec("P")
R = TypeVar("R")


class WorkerPool:
    """A few threads for work that blocks, with a bound on how much may wait for them.

    Its own rather than the standard executor: what ends in several threads at once reaches the event loop in one
    wake-up, which is most of what a verification costs beside the hash.

    Args:
        workers: threads; about one per core, since bcrypt keeps a core busy.
        max_pending: calls that run or wait at once; above it a call fails at once.
    """

    def __init__(self, *, workers: int, max_pending: int) -> None:
        self._max_pending = max_pending
        self._pending = 0
        self._is_closed = False
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended: deque[tuple[_Job, Any, BaseException | None]] = deque()
        self._is_loop_told = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fleetkey-hash-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """How many calls run or wait."""
        return self._pending

    @property
    def is_full(self) -> bool:
        """Whether a further call would fail at once."""
        return self._is_closed or self._pending >= self._max_pending

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run blocking work in a thread.

        Raises:
            OverloadedError: too much is waiting; refuse the client for now.
        """
        if self.is_full:
            msg = "the pool is closed" if self._is_closed else f"{self._pending} calls are waiting"
            raise OverloadedError(msg)
        # The count goes down when the work ends, not when its caller gives up: a cancelled login still costs a thread.
        self._pending += 1
        loop = asyncio.get_running_loop()
        job = _Job(loop=loop, future=loop.create_future(), work=partial(work, *args, **kwargs))
        self._jobs.put(job)
        result: R = await job.future
        return result

    def close(self) -> None:
        """Let what runs end, and drop what waits."""
        self._is_closed = True
        with contextlib.suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                self._tell(job, None, asyncio.CancelledError())
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result, error = job.work(), None
            except BaseException as caught:  # noqa: BLE001 - handed to whoever awaits it
                result, error = None, caught
            self._tell(job, result, error)

    def _tell(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._ended.append((job, result, error))
        if not self._is_loop_told:
            self._is_loop_told = True
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        # First this, then the deque: whatever is added from here on tells the loop again.
        self._is_loop_told = False
        while self._ended:
            job, result, error = self._ended.popleft()
            self._pending -= 1
            if job.future.cancelled():
                continue
            if error is None:
                job.future.set_result(result)
            elif isinstance(error, asyncio.CancelledError):
                job.future.cancel()
            else:
                job.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Job:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    work: Callable[[], Any]
