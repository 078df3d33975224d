"""What the TLS connections of one listener share: a read buffer, turns, and a memory budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.turns import RestQueue, TurnQueue

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

__all__ = ["READ_BYTES", "TRICKLE_BYTES", "TlsConnections"]

READ_BYTES = 32 * 1024
"""Bytes read from a socket at a time, into one buffer for all connections."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Received but undecrypted bytes that all connections of a listener may hold together."""
DECRYPTS_PER_TURN = 8
"""Connections that are decrypted per turn of the event loop; the others wait for theirs."""
TRICKLE_BYTES = 256
"""A read of fewer bytes that completes nothing is followed by a rest (`fleetkey.turns.REST_SECONDS`)."""
HANDSHAKES_PER_TURN = 2
"""Handshake steps per turn of the event loop; a signature takes up to a millisecond."""


class TlsConnections:
    """What the connections of one listener share.

    Args:
        reached: called with the bound that was reached, and the client's address.
        handshake_seconds: how long a handshake may take before the connection is closed.
        shutdown_seconds: how long a client may take to close its side once the connection is closed.
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
        """The bytes read last, by any connection, which copies them before another one reads."""
        self.handshake_turns = TurnQueue(HANDSHAKES_PER_TURN)
        self.decrypt_turns = TurnQueue(DECRYPTS_PER_TURN)
        self.rests = RestQueue()
        self.held_bytes = 0
        self.shaking_hands: set[asyncio.Transport] = set()
        """Connections whose handshake isn't complete."""

    def hold(self, change: int) -> bool:
        """Charge a change in the bytes that a connection holds; False if it would exceed `MAX_HELD_BYTES`."""
        if change > 0 and self.held_bytes + change > MAX_HELD_BYTES:
            return False
        self.held_bytes += change
        return True

    @property
    def can_read_ahead(self) -> bool:
        """Whether at least half of `MAX_HELD_BYTES` is free."""
        return self.held_bytes < MAX_HELD_BYTES // 2
