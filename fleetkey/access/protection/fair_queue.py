"""A queue that serves one at a time, and its sources in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fleetkey.access.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["FairQueue"]

MAX_QUEUED_PER_SOURCE = 100
"""Entries that one source, an address or a key, may have waiting."""
MAX_QUEUED_SOURCES = 1_000
"""Sources that may have entries waiting."""


class FairQueue:
    """Serve one entry at a time, next from the source that has waited longest since it was last served.

    A source that sends a flood delays only itself. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._is_busy = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Wait until it's the source's turn, and hold the turn until the block ends.

        Raises:
            OverloadedError: the source has too many entries waiting, or too many sources have some.
        """
        if self._is_busy:
            await self._wait(source)
        self._is_busy = True
        try:
            yield
        finally:
            self._serve_next()

    async def _wait(self, source: str) -> None:
        queue = self._waiting.get(source)
        if queue is None:
            if len(self._waiting) >= MAX_QUEUED_SOURCES:
                msg = f"{len(self._waiting)} sources are waiting"
                raise OverloadedError(msg)
            queue = self._waiting[source] = deque()
        if len(queue) >= MAX_QUEUED_PER_SOURCE:
            msg = f"{len(queue)} of one source are waiting"
            raise OverloadedError(msg)
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Cancelled with the turn already granted: pass it on, or everyone behind would wait for ever.
                self._serve_next()
            elif turn in queue:
                queue.remove(turn)
                if not queue:
                    del self._waiting[source]
            raise

    def _serve_next(self) -> None:
        """Grant the turn to the next entry, if one is waiting."""
        while self._waiting:
            source, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[source] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._is_busy = False
