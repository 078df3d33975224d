"""When a refusal leaves: at a time that its reason has no part in."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time

__all__ = ["RefusalTiming"]

INTERVAL_SECONDS = 0.01
"""Between two moments at which a refusal may leave, counted from when its request came."""
MAX_WAITING = 10_000
"""Refusals that wait at once; further ones leave at once."""


class RefusalTiming:
    """Lets each refusal leave a whole number of beats after its request came.

    A key or a serial that exists is looked up, compared and written about a little differently from one that doesn't:
    microseconds, which many trials can tell from the time of the answer. A thread waits for the moment, not the event
    loop, whose timers count in milliseconds from when it last had something to do. Used on event loops.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @staticmethod
    def now() -> float:
        """Return the time that `wait` counts from; take it when a request comes."""
        return time.monotonic()

    async def wait(self, came_at: float) -> None:
        """Wait for the next beat of a request that came at that time."""
        if self._is_closed or len(self._due) >= MAX_WAITING:
            return
        beats = math.ceil((time.monotonic() - came_at) / INTERVAL_SECONDS)
        loop = asyncio.get_running_loop()
        left = loop.create_future()
        with self._changed:
            heapq.heappush(self._due, (came_at + beats * INTERVAL_SECONDS, next(self._numbers), loop, left))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fleetkey-beat", daemon=True)
                self._thread.start()
            self._changed.notify()
        await left

    def close(self) -> None:
        """Let what waits leave at once, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                while self._due and (self._is_closed or self._due[0][0] <= time.monotonic()):
                    _, _, loop, left = heapq.heappop(self._due)
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(_leave, left)
                if self._is_closed:
                    return
                self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)


def _leave(left: asyncio.Future[None]) -> None:
    if not left.done():
        left.set_result(None)
