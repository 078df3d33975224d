"""One at a time, and the sources of what waits in turn."""

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
"""Attempts over a limit from one source, an address or a key, that wait for their turn at once."""
MAX_QUEUED_SOURCES = 1_000
"""Sources with attempts that wait at once."""


class FairQueue:
    """Lets one in at a time; who comes next is from the source that has waited longest since its last turn.

    So a source that sends many keeps only its own waiting. Lives on one event loop.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, source: str) -> AsyncIterator[None]:
        """Wait for a turn of a source, and have it until the end of the block.

        Raises:
            OverloadedError: too much is waiting.
        """
        if self._is_taken:
            await self._wait(source)
        self._is_taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, source: str) -> None:
        line = self._waiting.get(source)
        if line is None:
            if len(self._waiting) >= MAX_QUEUED_SOURCES:
                msg = f"{len(self._waiting)} sources are waiting"
                raise OverloadedError(msg)
            line = self._waiting[source] = deque()
        if len(line) >= MAX_QUEUED_PER_SOURCE:
            msg = f"{len(line)} of one source are waiting"
            raise OverloadedError(msg)
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            elif turn in line:
                line.remove(turn)
                if not line:
                    del self._waiting[source]
            raise

    def _pass_on(self) -> None:
        """Give the turn to whoever is next, if anybody still waits."""
        while self._waiting:
            source, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            if line:
                self._waiting[source] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
