"""Persistent sessions of disconnected clients, in order of expiry."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.session import Session

__all__ = ["AwaySessions"]


class AwaySessions:
    """Finds expired sessions without scanning the others: all have the same lifetime, so they expire in order.

    Add sessions restored from an earlier process first, in the order in which they were disconnected.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[Session, None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Add a session, which must not expire before those already added."""
        self._sessions[session] = None
        self._sessions.move_to_end(session)

    def discard(self, session: Session) -> None:
        """Remove a session because its client is back or it was dropped; does nothing if it is unknown."""
        self._sessions.pop(session, None)

    def over(self, lasted: float, *, most: int) -> list[Session]:
        """Return at most `most` expired sessions, oldest first; they stay until discarded."""
        due = takewhile(lambda each: each.expires_at is not None and each.expires_at <= lasted, self._sessions)
        return list(islice(due, most))
