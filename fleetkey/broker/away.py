"""The persistent sessions of disconnected clients, in the order in which they will expire."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.session import Session

__all__ = ["AwaySessions"]


class AwaySessions:
    """Finds expired sessions without examining the others: all are kept equally long, so they expire in order.

    Sessions of an earlier process must be added in the order of their disconnection, before any other.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[Session, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Add a session that expires no sooner than those already added."""
        self._sessions[session] = None
        self._sessions.move_to_end(session)

    def discard(self, session: Session) -> None:
        """Remove a session whose client is back or that is dropped; an unknown one changes nothing."""
        self._sessions.pop(session, None)

    def over(self, lasted: float, *, most: int) -> list[Session]:
        """Return at most `most` expired sessions, oldest first; they stay until discarded."""
        due = takewhile(lambda each: each.expires_at is not None and each.expires_at <= lasted, self._sessions)
        return list(islice(due, most))
