"""Connections of owners for whom there is no room: they are read slowly, so that they can still acknowledge."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.broker.accounts import Accounts
    from fleetkey.broker.sessions import Sessions

__all__ = ["HeldBackConnections"]


RESUMED_PER_TICK = 64
"""Connections that wait for room and may handle a turn's worth of packets, every half second; the others wait on."""


class Waiting(Protocol):
    """The parts of a connection that are used here."""

    def resume_for_a_turn(self) -> None:
        """Handle a turn's worth of packets."""
        ...


class HeldBackConnections:
    """Holds back the connections of the largest owners, and lets each handle a turn's worth of packets per tick."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._waiting: dict[Waiting, None] = {}
        self.is_scarce = False
        """Whether memory or disk is scarce, so that somebody may be held back."""

    def __len__(self) -> int:
        """Return how many connections wait."""
        return len(self._waiting)

    def wait(self, connection: Waiting) -> None:
        """Let a connection wait until the next tick."""
        self._waiting[connection] = None

    def discard(self, connection: Waiting) -> None:
        """Forget a connection that is closed; safe to call again."""
        self._waiting.pop(connection, None)

    def look(self, now: float) -> None:
        """Determine whom to hold back from now on, and let those that waited have a turn."""
        self._accounts.look(now)
        self.is_scarce = self._accounts.is_scarce
        for connection in list(islice(self._waiting, RESUMED_PER_TICK)):
            del self._waiting[connection]
            connection.resume_for_a_turn()
        for owner in self._accounts.held_back:
            for session in self._sessions.of_owner(owner):
                if session.connection is not None:
                    session.connection.check_room_next()
