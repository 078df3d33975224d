"""A group of sessions that share a subscription (MQTT 5.0, 4.8.2): each message goes to one of its members.

A group belongs to its owner: its members are sessions of one device or of one application key. Two owners that use the
same name have two groups, so that nobody takes messages away from another's workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec import SubscriptionOptions

if TYPE_CHECKING:
    from fleetkey.broker.session import Session
    from fleetkey.budget import Account

__all__ = ["SHARED", "SharedGroup"]

SHARED = SubscriptionOptions(0)
"""What a group has in place of options, in the tree and in routes; recognised by identity."""


class SharedGroup:
    """The sessions that share a filter. The tree and the routes have it in place of a session.

    Compared by identity.
    """

    __slots__ = ("__weakref__", "_at", "_order", "changed_at", "is_over", "memory", "options", "owner", "topic_filter")

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
        self._order: list[Session] = []
        self._at = -1
        """Whose turn it was last."""

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self._order)

    def add(self, session: Session, options: SubscriptionOptions) -> None:
        """Add a member, or change its options."""
        if session not in self.options:
            self._order.append(session)
        self.options[session] = options

    def remove(self, session: Session) -> None:
        """Remove a member."""
        if self.options.pop(session, None) is not None:
            self._order.remove(session)

    def choose(self, topic: str, qos: int) -> Session | None:
        """Choose the member that a message goes to: in turns, of those that can take it best.

        Only a member whose scope allows the topic at this moment is chosen. One that reads comes before one that is
        behind with reading, and that before one that is away, for which the message must have a QoS.
        """
        order, at = self._order, self._at
        count, second, third = len(order), None, None
        for step in range(1, count + 1):
            session = order[(at + step) % count]
            principal, connection = session.principal, session.connection
            if session.is_over or (principal is not None and not principal.may_receive(topic)):
                continue
            if connection is None:
                if third is None and qos and self.options[session].qos:
                    third = session
            elif principal is not None:
                if not connection.is_paused:
                    self._at = (at + step) % count
                    return session
                second = second or session
        chosen = second or third
        if chosen is not None:
            self._at = order.index(chosen)
        return chosen
