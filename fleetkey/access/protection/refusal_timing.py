"""Refusals are sent on whole intervals, so that when one is sent says nothing about its reason.

This hides microseconds. That every refusal costs one bcrypt, which takes far longer, is the other half: it is in
`Verification.verify` for logins and in `Registrar` for registrations, which both send their refusals through here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time

__all__ = ["RefusalTiming"]

INTERVAL_SECONDS = 0.01
"""A refusal is sent a whole number of these after its request arrived."""
MAX_WAITING = 10_000
"""Refusals held back at once; any more are sent immediately."""


class RefusalTiming:
    """Hold each refusal back until a whole number of intervals after its request arrived.

    Looking up, comparing and recording a key or serial takes microseconds more or less depending on whether it exists,
    and an attacker who measures many responses could tell. A thread does the waiting because the event loop's timers
    have millisecond resolution, counted from when the loop last ran, which would let the difference show through. May
    be used from several event loops.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @staticmethod
    def now() -> float:
        """Return the current time for `wait`; call it when a request arrives."""
        return time.monotonic()

    async def wait(self, received_at: float) -> None:
        """Wait until the next whole interval since a request was received."""
        if self._is_closed or len(self._due) >= MAX_WAITING:
            return
        intervals = math.ceil((time.monotonic() - received_at) / INTERVAL_SECONDS)
        loop = asyncio.get_running_loop()
        released = loop.create_future()
        with self._changed:
            heapq.heappush(self._due, (received_at + intervals * INTERVAL_SECONDS, next(self._numbers), loop, released))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fleetkey-refusal-timing", daemon=True)
                self._thread.start()
            self._changed.notify()
        await released

    def close(self) -> None:
        """Release everything that waits, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                while self._due and (self._is_closed or self._due[0][0] <= time.monotonic()):
                    _, _, loop, released = heapq.heappop(self._due)
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(_release, released)
                if self._is_closed:
                    return
                self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)


def _release(released: asyncio.Future[None]) -> None:
    if not released.done():
        released.set_result(None)
