"""A group of sessions that share a subscription (MQTT 5.0, 4.8.2): each message goes to one of its members.

A group belongs to its owner: its members are sessions of one device or of one application key. Two owners that use the
same name have two groups, so that nobody takes messages away from another's workers.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fleetkey.broker.codec import SubscriptionOptions

if TYPE_CHECKING:
    from fleetkey.broker.session import Session
    from fleetkey.budget import Account

__all__ = ["SHARED", "SharedGroup"]

REFUSED_AT_ONCE = 8
"""Members in vain asked for one message. They have the same key, and so mostly the same scope."""
SHARED = SubscriptionOptions(0)
"""What a group has in place of options, in the tree and in routes; recognised by identity."""


class SharedGroup:
    """The sessions that share a filter. The tree and the routes have it in place of a session.

    Compared by identity.
    """

    __slots__ = (
        "__weakref__",
        "_at",
        "_away",
        "_here",
        "changed_at",
        "is_over",
        "memory",
        "options",
        "owner",
        "topic_filter",
    )

    def __init__(self, owner: str, topic_filter: str, memory: Account) -> None:
        self.owner = owner
        self.topic_filter = topic_filter
        self.memory = memory
        """Its owner's account, which the tree charges for it."""
        self.options: dict[Session, SubscriptionOptions] = {}
        """Its members."""
        self.changed_at = 0
        """As in `Session`."""
        self.is_over = False
        """Whether its last member left."""
        self._here: list[Session] = []
        """The members that were connected when last looked at."""
        self._at = -1
        """Whose turn it was last, among these."""
        self._away: dict[Session, None] = {}
        """The others, in order of their turns."""

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.options)

    def add(self, session: Session, options: SubscriptionOptions) -> None:
        """Add a member, or change its options."""
        if session not in self.options:
            if session.connection is not None:
                self._here.append(session)
            else:
                self._away[session] = None
        self.options[session] = options

    def come_back(self, session: Session) -> None:
        """Count a member among those that are connected again."""
        if session in self._away:
            del self._away[session]
            self._here.append(session)

    def remove(self, session: Session) -> None:
        """Remove a member."""
        if self.options.pop(session, None) is None:
            return
        if session in self._away:
            del self._away[session]
        else:
            self._here.remove(session)

    def choose(self, topic: str, qos: int) -> Session | None:
        """Choose the member that a message goes to: in turns, of those that can take it best.

        Only a member whose scope allows the topic at this moment is chosen. One that reads comes before one that is
        behind with reading, and that before one that is away, for which the message must have a QoS.
        """
        here, at, refused = self._here, self._at, 0
        behind: Session | None = None
        steps = len(here)
        while steps > 0:
            steps -= 1
            at = (at + 1) % len(here)
            session = here[at]
            connection, principal = session.connection, session.principal
            if connection is None or session.is_over:
                del here[at]
                at -= 1
                self._away[session] = None
            elif principal is None or not principal.may_receive(topic):
                refused += 1
                if refused >= REFUSED_AT_ONCE:
                    break
            elif not connection.is_paused:
                self._at = at
                return session
            else:
                behind = behind or session
        if behind is not None:
            self._at = here.index(behind)
            return behind
        return self._next_away(topic) if qos else None

    def _next_away(self, topic: str) -> Session | None:
        """Choose among those that are away; what they may have is decided again when it is sent."""
        for session in list(islice(self._away, REFUSED_AT_ONCE)):
            del self._away[session]
            self._away[session] = None
            principal = session.principal
            is_allowed = principal is None or principal.may_receive(topic)
            if is_allowed and not session.is_over and self.options[session].qos:
                return session
        return None
