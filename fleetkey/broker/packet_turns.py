"""Divides a turn of the event loop among connections that sent more than a packet, or a lot of bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["PACKETS_PER_TURN", "PacketTurns"]

PACKETS_PER_TURN = 16
"""Packets of one connection handled before the others get a turn; a packet with filters ends the turn."""
PACKETS_PER_LOOP_TURN = 128
"""Packets of all connections that sent several, per turn of the event loop; a large packet counts as more."""


class PacketTurns:
    """Lets each connection handle its first packet at once, and the others in turns.

    However many clients flood the broker, the event loop comes back to those that sent a single packet soon.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = PACKETS_PER_LOOP_TURN
        """Packets that are left of this turn of the event loop."""
        self._is_due = False
        """Whether the next turn of the event loop calls `_run`."""
        self._waiting: deque[Callable[[], None]] = deque()

    def share(self) -> int:
        """Return how many packets a connection may handle now, at least one."""
        return PACKETS_PER_TURN if self._left >= PACKETS_PER_TURN else max(1, self._left)

    def used(self, packets: int) -> bool:
        """Count packets that a connection handled; return whether any are left of this turn."""
        self._left -= packets
        self._wake()
        return self._left > 0

    def wait(self, call: Callable[[], None]) -> None:
        """Call `call`, in the next turn of the event loop at the earliest, when there are packets left of a turn."""
        self._waiting.append(call)
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._is_due, self._left = False, PACKETS_PER_LOOP_TURN
        # Only those that wait now, each once.
        for _ in range(len(self._waiting)):
            if self._left <= 0:
                break
            self._waiting.popleft()()
        if self._waiting:
            self._wake()
