"""Closed connections that still have something to send: for how long, and how many bytes of all of them together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from fleetkey.broker.scheduler import LINGER_SECONDS

if TYPE_CHECKING:
    from fleetkey.broker.bounds import BoundLog

__all__ = ["Lingering"]

MAX_LINGERING_BYTES = 16 * 1024 * 1024
"""Bytes that closed connections may still have to send, together; above it, the one closed first is cut off."""


class Closed(Protocol):
    """A connection that is closed, as far as this is concerned."""

    address: str
    transport: Any


class Lingering:
    """Every closed connection whose socket isn't.

    A transport that was told to close sends what it has first, for as long as the client lets it wait. Here that ends.
    """

    def __init__(self, bounds: BoundLog) -> None:
        self._loop = asyncio.get_running_loop()
        self._bounds = bounds
        self._waiting: dict[Closed, tuple[float, int]] = {}
        """Until when, and how many bytes; in order of closing."""
        self._bytes = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def add(self, connection: Closed, size: int) -> None:
        """Give a closed connection its time; `size` is what it may still have to send."""
        self._waiting[connection] = (self._loop.time() + LINGER_SECONDS, size)
        self._bytes += size
        self._is_empty.clear()
        while self._bytes > MAX_LINGERING_BYTES:
            # It has had the most time, so it is the least likely to read.
            oldest = next(iter(self._waiting))
            self._bounds.reached_by_stranger("lingering_bytes", oldest.address)
            self._cut_off(oldest)

    def discard(self, connection: Closed) -> None:
        """Forget a connection whose socket is closed; safe to call again."""
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            self._bytes -= waiting[1]
            if not self._waiting:
                self._is_empty.set()

    def expire(self, now: float) -> None:
        """Cut off the connections whose time is over."""
        while self._waiting:
            connection, (deadline, _) = next(iter(self._waiting.items()))
            if deadline > now:
                return
            self._cut_off(connection)

    async def settle(self) -> None:
        """Wait until every closed connection has sent what it had, for at most `LINGER_SECONDS`; then cut off."""
        try:
            await asyncio.wait_for(self._is_empty.wait(), LINGER_SECONDS)
        except TimeoutError:
            for connection in list(self._waiting):
                self._cut_off(connection)

    def _cut_off(self, connection: Closed) -> None:
        self.discard(connection)
        connection.transport.abort()
