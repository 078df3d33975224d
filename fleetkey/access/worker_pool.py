"""A bounded pool of threads for blocking work."""

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
    """A few threads for blocking work, with a bound on how much of it may be pending.

    Unlike the standard executor, it reports the results of several threads to the event loop in one wake-up. Besides
    the hash, wake-ups are most of what a verification costs.

    Args:
        workers: threads; about one per core, since bcrypt keeps a core busy.
        max_pending: calls that may run or wait; any more fail at once.
    """

    def __init__(self, *, workers: int, max_pending: int) -> None:
        self._max_pending = max_pending
        self._pending = 0
        self._is_closed = False
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._finished: deque[tuple[_Job, Any, BaseException | None]] = deque()
        self._is_loop_woken = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fleetkey-worker-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """How many calls are running or waiting."""
        return self._pending

    @property
    def is_full(self) -> bool:
        """Whether another call would fail at once."""
        return self._is_closed or self._pending >= self._max_pending

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run blocking work in a thread and return its result.

        Raises:
            OverloadedError: too many calls are pending; refuse the client for now.
        """
        if self.is_full:
            msg = "the pool is closed" if self._is_closed else f"{self._pending} calls are waiting"
            raise OverloadedError(msg)
        # Counted until the work ends, even if its caller is cancelled: it still occupies a thread.
        self._pending += 1
        loop = asyncio.get_running_loop()
        job = _Job(loop=loop, future=loop.create_future(), work=partial(work, *args, **kwargs))
        self._jobs.put(job)
        result: R = await job.future
        return result

    def close(self) -> None:
        """Wait for running calls to end, and cancel those that wait."""
        self._is_closed = True
        with contextlib.suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                self._report(job, None, asyncio.CancelledError())
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result, error = job.work(), None
            except BaseException as caught:  # noqa: BLE001 - raised to the caller of `run`
                result, error = None, caught
            self._report(job, result, error)

    def _report(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._finished.append((job, result, error))
        if not self._is_loop_woken:
            self._is_loop_woken = True
            # On a closed loop nobody is left waiting.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        # Before the deque is emptied, so that whatever is added from here on wakes the loop again.
        self._is_loop_woken = False
        while self._finished:
            job, result, error = self._finished.popleft()
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
