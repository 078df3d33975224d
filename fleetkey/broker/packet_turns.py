"""Divides a turn of the event loop among connections that sent more than a packet, or a lot of bytes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fleetkey.turns import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.turns import CallsSoon

__all__ = ["PACKETS_PER_TURN", "PacketTurns"]

PACKETS_PER_TURN = 16
"""Packets of one connection handled before the others get a turn; a packet with filters ends the turn."""
PACKETS_PER_LOOP_TURN = 128
"""Packets of all connections that sent several, per turn of the event loop; a large packet counts as more."""
MAX_SHORT_BYTES = 4 * 1024
"""Bytes that wait of a connection that is handled before those with more."""
LONG_EVERY = 4
"""One in so many that are handled has more, however many have less."""
PACKETS_OF_ONE_OWNER = 32
"""Packets of one owner's connections per turn of the event loop, if it has many: a device has only one."""


class PacketTurns:
    """Lets each connection handle its first packet at once, and the others in turns, one owner's after the other.

    However many clients flood the broker, the event loop comes back to those that sent a single packet soon. An owner
    with many connections has one part for all of them, of their first packets too.
    """

    def __init__(self, loop: CallsSoon) -> None:
        self._loop = loop
        self._left = PACKETS_PER_LOOP_TURN
        """Packets that are left of this turn of the event loop."""
        self.single = PACKETS_PER_TURN
        """How many packets a connection may handle now that shares its part with no other: at least one."""
        self._used: Counter[str] = Counter()
        """Packets of owners with many connections in this turn."""
        self._is_due = False
        """Whether the next turn of the event loop calls `_run`."""
        self._short: RoundRobin[Callable[[], None]] = RoundRobin()
        self._long: RoundRobin[Callable[[], None]] = RoundRobin()
        """What waits: few bytes, and many."""

    def share(self, owner: str = "") -> int:
        """Return how many packets a connection may handle now: at least one, unless it shares its part with others.

        Args:
            owner: whose it is, if that may have many connections, which share one part.
        """
        return min(self.single, PACKETS_OF_ONE_OWNER - self._used[owner]) if owner else self.single

    def used(self, packets: int, owner: str = "") -> bool:
        """Count packets that a connection handled; return whether any are left of this turn."""
        self._left -= packets
        if self._left < PACKETS_PER_TURN:
            self.single = max(1, self._left)
        if owner:
            self._used[owner] += packets
        self._wake()
        return self._left > 0

    def wait(self, owner: str, call: Callable[[], None], size: int = MAX_SHORT_BYTES + 1) -> None:
        """Call `call`, in the next turn of the event loop at the earliest, when it is its owner's turn.

        Args:
            owner: whose connection it is.
            call: handles packets.
            size: bytes of what is to be handled; those with few are handled first, but not only.
        """
        (self._short if size <= MAX_SHORT_BYTES else self._long).append(owner, call)
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._is_due, self._left, self.single = False, PACKETS_PER_LOOP_TURN, PACKETS_PER_TURN
        self._used.clear()
        # Only those that wait now, each once.
        for number in range(len(self._short) + len(self._long)):
            if self._left <= 0 or not (self._short or self._long):
                break
            waiting = self._short if self._short and (number % LONG_EVERY or not self._long) else self._long
            waiting.popleft()()
        if self._short or self._long:
            self._wake()
