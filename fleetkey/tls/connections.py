"""What the TLS connections of one listener share: a buffer to read into, turns, and a budget of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

__all__ = ["READ_BYTES", "TlsConnections"]

READ_BYTES = 32 * 1024
"""Bytes that are read from a socket at a time, into one buffer for all connections."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of all connections of a listener together, bytes that came and can't be decrypted yet."""
CONTINUED_PER_TURN = 4
"""Connections that go on with what waits, in one turn of the event loop."""
HANDSHAKES_PER_TURN = 2
"""Steps of handshakes in one turn of the event loop; a signature takes up to a millisecond."""


class TlsConnections:
    """What the connections of one listener share.

    Args:
        reached: is told which bound an address reached.
        handshake_seconds: for a handshake; then the connection is closed.
        shutdown_seconds: for the client's end, after a connection is closed.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        reached: Callable[[str, str], None],
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self.context = context
        self.reached = reached
        self.handshake_seconds = handshake_seconds
        self.shutdown_seconds = shutdown_seconds
        self.buffer = bytearray(READ_BYTES)
        """What was read last, of any connection: it is taken out before the next one reads."""
        self.handshake_turns = TurnQueue(HANDSHAKES_PER_TURN)
        self.decrypt_turns = TurnQueue(CONTINUED_PER_TURN)
        self.held_bytes = 0
        self.shaking_hands: set[asyncio.Transport] = set()
        """Those whose handshake isn't done."""

    def hold(self, change: int) -> bool:
        """Charge bytes that a connection holds more, or fewer; False if they would exceed `MAX_HELD_BYTES`."""
        if change > 0 and self.held_bytes + change > MAX_HELD_BYTES:
            return False
        self.held_bytes += change
        return True

    @property
    def can_read_ahead(self) -> bool:
        """Whether half of what may be held is free."""
        return self.held_bytes < MAX_HELD_BYTES // 2
