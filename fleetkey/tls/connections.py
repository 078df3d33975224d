"""What the TLS connections of one listener share: a read buffer, turns, and a memory budget."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from fleetkey.turns import RestQueue, TurnQueue

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from fleetkey.registry import RefusalReason

    class Holder(Protocol):
        """The parts of a connection that are used here."""

        @property
        def is_record_due(self) -> bool:
            """Whether it waits for the rest of a record."""

        def cut(self, bound: str) -> None:
            """Report the bound it reached, and close at once."""


__all__ = ["READ_BYTES", "TlsConnections"]

READ_BYTES = 32 * 1024
"""Bytes read from a socket at a time, into one buffer for all connections."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Received but undecrypted bytes that all connections of a listener may hold together."""
MIN_CHARGED_BYTES = 1024
"""The least that a connection holding anything is charged, so that few are closed to make room for one read."""
RECORD_SECONDS = 60.0
"""How long the rest of a record may take to arrive, unless the protocol above has paused reading."""
MAX_CHECKED_PER_TURN = 64
"""Connections whose record has taken that long, checked and closed per turn of the event loop."""
DECRYPTS_PER_TURN = 8
"""Connections that are decrypted per turn of the event loop; the others wait for theirs."""
HANDSHAKES_PER_TURN = 2
"""Handshake steps per turn of the event loop; a signature takes up to a millisecond."""


class TlsConnections:
    """What the connections of one listener share.

    Args:
        reached: called with the bound that was reached, and the client's address.
        refused: called with why a connection ended before its handshake was done, the client's address, and a detail.
        handshake_seconds: how long a handshake may take before the connection is closed.
        shutdown_seconds: how long a client may take to close its side once the connection is closed.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        reached: Callable[[str, str], None],
        refused: Callable[[RefusalReason, str, str], None],
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self.context = context
        self.reached = reached
        self.refused = refused
        self.handshake_seconds = handshake_seconds
        self.shutdown_seconds = shutdown_seconds
        self.buffer = bytearray(READ_BYTES)
        """The bytes read last, by any connection, which copies them before another one reads."""
        self.handshake_turns = TurnQueue(HANDSHAKES_PER_TURN)
        self.decrypt_turns = TurnQueue(DECRYPTS_PER_TURN)
        self.rests = RestQueue()
        self.held_bytes = 0
        """What all connections are charged."""
        self._held: dict[Holder, int] = {}
        """How much each connection holds; the one that made no progress for the longest time comes first."""
        self._since: dict[Holder, float] = {}
        """When the time for the rest of their records began, in that order."""
        self._timer: asyncio.TimerHandle | None = None
        self.shaking_hands: set[asyncio.Transport] = set()
        """Connections whose handshake isn't complete."""

    def charge(self, connection: Holder, held: int, received: int = 0) -> None:
        """Charge what a connection holds now, `received` bytes after the last time.

        At the bound, the connections without progress for the longest time are closed, possibly this one. Completing a
        record is progress, as is starting one when nothing was held; more bytes of the same record are not.
        """
        before = self._held.get(connection, 0)
        if held == before == 0:
            return
        self.held_bytes += _charged(held) - _charged(before)
        if not before or held < before + received:
            self._held.pop(connection, None)
            self._since.pop(connection, None)
        if not held:
            return
        self._held[connection] = held
        if connection not in self._since:
            self._since[connection] = asyncio.get_running_loop().time()
            self._start_timer()
        while self.held_bytes > MAX_HELD_BYTES:
            # Its charge is gone once it is closed.
            next(iter(self._held)).cut("tls_held_bytes")

    @property
    def can_read_ahead(self) -> bool:
        """Whether at least half of `MAX_HELD_BYTES` is free."""
        return self.held_bytes < MAX_HELD_BYTES // 2

    def _start_timer(self) -> None:
        if self._timer is None and self._since:
            due = next(iter(self._since.values())) + RECORD_SECONDS
            self._timer = asyncio.get_running_loop().call_at(due, self._close_late)

    def _close_late(self) -> None:
        """Close the connections whose record isn't complete in time."""
        self._timer = None
        begun_by = asyncio.get_running_loop().time() - RECORD_SECONDS
        for _ in range(MAX_CHECKED_PER_TURN):
            connection, since = next(iter(self._since.items()), (None, 0.0))
            if connection is None or since > begun_by:
                break
            del self._since[connection]
            if connection.is_record_due:
                connection.cut("tls_record_seconds")
            else:
                # The client isn't to blame; its place in `_held` stays the same.
                self._since[connection] = asyncio.get_running_loop().time()
        self._start_timer()


def _charged(held: int) -> int:
    return max(held, MIN_CHARGED_BYTES) if held else 0
