"""All groups of shared subscriptions: who is in them, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import split_shared
from fleetkey.broker.memory_costs import FILTERS, GROUP_BYTES, GROUP_MEMBER_BYTES
from fleetkey.broker.shared_group import SHARED, SharedGroup

if TYPE_CHECKING:
    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.route_cache import RouteCache
    from fleetkey.broker.session import Session
    from fleetkey.broker.subscriptions import SubscriptionTrie

__all__ = ["SharedGroups"]


class SharedGroups:
    """All groups: by owner, and by the whole filter."""

    def __init__(self, limits: Limits, trie: SubscriptionTrie, routes: RouteCache) -> None:
        self._limits = limits
        self._trie = trie
        self._routes = routes
        self._of_owner: dict[str, dict[str, SharedGroup]] = {}
        self._of_session: dict[Session, dict[SharedGroup, None]] = {}
        """Of sessions that are in any group."""

    def bound_reached(self, owner: str, topic_filter: str) -> str:
        """Return which bound prevents one more member of a filter's group; empty if there is room."""
        groups = self._of_owner.get(owner, {})
        group = groups.get(topic_filter)
        if group is None:
            return "max_shared_groups" if len(groups) >= self._limits.max_shared_groups else ""
        return "max_shared_members" if len(group) >= self._limits.max_shared_members else ""

    def add(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> int:
        """Add a session to the group of a filter, or change its options; return the units of work done."""
        groups = self._of_owner.setdefault(session.owner, {})
        group = groups.get(topic_filter)
        is_new = group is None
        if group is None:
            group = groups[topic_filter] = SharedGroup(session.owner, topic_filter, session.memory)
            session.memory.charge_anyway(FILTERS, GROUP_BYTES)
        if session not in group.options:
            session.memory.charge_anyway(FILTERS, GROUP_MEMBER_BYTES)
            self._of_session.setdefault(session, {})[group] = None
        group.add(session, options)
        if not is_new:
            return 1
        inner = split_shared(topic_filter)[1]
        self._trie.add(inner, group, SHARED)
        return self._routes.changed(inner)

    def come_back(self, session: Session) -> None:
        """Count a session among the connected members of its groups."""
        for group in self._of_session.get(session, ()):
            group.come_back(session)

    def remove(self, session: Session, topic_filter: str) -> int:
        """Remove a session from the group of a filter; return the units of work done."""
        groups = self._of_owner.get(session.owner, {})
        group = groups.get(topic_filter)
        if group is None or session not in group.options:
            return 1
        group.remove(session)
        of_session = self._of_session[session]
        del of_session[group]
        if not of_session:
            del self._of_session[session]
        session.memory.release(FILTERS, GROUP_MEMBER_BYTES)
        if group:
            return 1
        group.is_over = True
        session.memory.release(FILTERS, GROUP_BYTES)
        del groups[topic_filter]
        if not groups:
            del self._of_owner[session.owner]
        inner = split_shared(topic_filter)[1]
        self._trie.remove(inner, group)
        return self._routes.changed(inner)
