"""The persistent sessions whose clients are away, in the order in which their time will be over."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.session import Session

__all__ = ["AwaySessions"]


class AwaySessions:
    """Finds those that are over without a look at the others: all are kept equally long, so who left first ends first.

    Sessions of an earlier process have to be added in the order of their ends, before any that leaves.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[Session, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are away."""
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Take in a session that ends no sooner than those that are here."""
        self._sessions[session] = None
        self._sessions.move_to_end(session)

    def discard(self, session: Session) -> None:
        """Let a session go, whose client is back or which is dropped; one that isn't here changes nothing."""
        self._sessions.pop(session, None)

    def over(self, lasted: float, *, most: int) -> list[Session]:
        """Return those whose time is over, the longest away first, at most `most`; they stay until discarded."""
        due = takewhile(lambda each: each.expires_at is not None and each.expires_at <= lasted, self._sessions)
        return list(islice(due, most))
