"""Closed connections that still have data to send, limited in time and in total bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from fleetkey.broker.scheduler import LINGER_SECONDS

if TYPE_CHECKING:
    from fleetkey.broker.bounds import BoundLog

__all__ = ["Lingering"]

MAX_LINGERING_BYTES = 16 * 1024 * 1024
"""Total bytes that closed connections may still have to send; beyond that, the one closed first is aborted."""
MAX_LINGERING_OF_DEVICE = 4
"""Closed connections of one device whose socket is still open; beyond that, the one closed first is aborted."""


class Closed(Protocol):
    """The parts of a closed connection that are used here."""

    address: str
    transport: Any

    @property
    def device_id(self) -> str | None:
        """The device that authenticated on it, if it was one."""
        ...


class Lingering:
    """Closed connections whose socket is still open.

    A closing transport first sends its buffer, for as long as the client takes to read it. This limits that time.
    """

    def __init__(self, bounds: BoundLog) -> None:
        self._loop = asyncio.get_running_loop()
        self._bounds = bounds
        self._waiting: dict[Closed, tuple[float, int]] = {}
        """The deadline and the bytes of each, in order of closing."""
        self._of_device: dict[str, dict[Closed, None]] = {}
        """Those of each device, in the same order. An application key's count against its bound on connections."""
        self._bytes = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def add(self, connection: Closed, size: int) -> None:
        """Start a closed connection's deadline; `size` is the number of bytes it may still have to send."""
        self._waiting[connection] = (self._loop.time() + LINGER_SECONDS, size)
        self._bytes += size
        self._is_empty.clear()
        if connection.device_id is not None:
            of_device = self._of_device.setdefault(connection.device_id, {})
            of_device[connection] = None
            if len(of_device) > MAX_LINGERING_OF_DEVICE:
                self._bounds.reached("lingering_of_device", device_id=connection.device_id)
                self._cut_off(next(iter(of_device)))
        while self._bytes > MAX_LINGERING_BYTES:
            # It has had the most time, so its client is the least likely to read.
            oldest = next(iter(self._waiting))
            self._bounds.reached_by_stranger("lingering_bytes", oldest.address)
            self._cut_off(oldest)

    def discard(self, connection: Closed) -> None:
        """Remove a connection whose socket is closed; safe to call again."""
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            self._bytes -= waiting[1]
            self._discard_of_device(connection)
            if not self._waiting:
                self._is_empty.set()

    def _discard_of_device(self, connection: Closed) -> None:
        device_id = connection.device_id
        of_device = self._of_device.get(device_id) if device_id is not None else None
        if device_id is not None and of_device is not None:
            of_device.pop(connection, None)
            if not of_device:
                del self._of_device[device_id]

    def expire(self, now: float) -> None:
        """Abort the connections whose deadline has passed."""
        while self._waiting:
            connection, (deadline, _) = next(iter(self._waiting.items()))
            if deadline > now:
                return
            self._cut_off(connection)

    async def settle(self) -> None:
        """Wait for at most `LINGER_SECONDS` until every closed connection has sent its data; then abort the rest."""
        try:
            await asyncio.wait_for(self._is_empty.wait(), LINGER_SECONDS)
        except TimeoutError:
            for connection in list(self._waiting):
                self._cut_off(connection)

    def _cut_off(self, connection: Closed) -> None:
        self.discard(connection)
        connection.transport.abort()
