"""Input of a connection held until there is room to parse it, with the connection's flow control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleetkey.http.connections import HttpConnections
    from fleetkey.turns import RestQueue

__all__ = ["Flow", "HeldBytes"]


class HeldBytes:
    """Unparsed input of one connection, charged to the budget of all connections."""

    def __init__(self, shared: HttpConnections) -> None:
        self._shared = shared
        self._data = b""
        self._at = 0

    def __len__(self) -> int:
        """Return how many bytes are in memory."""
        return len(self._data)

    def keep(self, data: bytes, at: int) -> bool:
        """Keep `data` from `at` on; False if the budget is exhausted.

        If `data` is already held, only the position moves: copying the rest for each request would be quadratic.
        """
        if data is self._data:
            self._at = at
            return True
        self.let_go()
        rest = data[at:]
        if not self._shared.hold(len(rest)):
            return False
        self._data = rest
        return True

    def followed_by(self, data: bytes) -> bytes:
        """Return the held bytes followed by `data`."""
        return self._data[self._at :] + data if self._data else data

    def rest(self) -> tuple[bytes, int]:
        """Return the held data, and the position in it."""
        return self._data, self._at

    def let_go(self) -> None:
        """Release everything."""
        self._shared.release(len(self._data))
        self._data, self._at = b"", 0


class Flow(FlowControl):
    """Flow control in which rests and held bytes go first: uvicorn resumes reading after each answer and body read.

    Args:
        transport: the connection's.
        may_read: whether no bytes are held.
        rests: ends rests, of all connections.
    """

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool], rests: RestQueue) -> None:
        super().__init__(transport)
        self._may_read = may_read
        self._rests = rests
        self._is_resting = False

    def resume_reading(self) -> None:
        """Resume reading, unless bytes are held or the connection rests; in that case, it resumes after the rest."""
        if not self._is_resting and self._may_read():
            super().resume_reading()

    def rest(self) -> None:
        """Pause reading for a rest, unless it is paused already: then it resumes only when there is room."""
        if not self.read_paused and not self._transport.is_closing():
            self._is_resting = True
            self.pause_reading()
            self._rests.add(self._end_rest)

    def _end_rest(self) -> None:
        self._is_resting = False
        if not self._transport.is_closing():
            self.resume_reading()
