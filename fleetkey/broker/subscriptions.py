"""Subscriptions in a trie of topic levels, so that the cost of a match grows with the topic's depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.session import Session

__all__ = ["SubscriptionTrie"]


class _Node:
    __slots__ = ("any_level", "levels", "rest", "sessions")

    def __init__(self) -> None:
        self.levels: dict[str, _Node] = {}
        self.any_level: _Node | None = None
        self.rest: dict[Session, SubscriptionOptions] | None = None
        """Subscriptions whose filter ends here with `#`."""
        self.sessions: dict[Session, SubscriptionOptions] | None = None
        """Subscriptions whose filter ends here."""

    @property
    def is_empty(self) -> bool:
        return not (self.levels or self.any_level or self.rest or self.sessions)


class SubscriptionTrie:
    """Subscriptions of all sessions."""

    def __init__(self) -> None:
        self._root = _Node()
        self.visited = 0
        """Nodes that the last `match` went through."""

    def add(self, topic_filter: str, session: Session, options: SubscriptionOptions) -> None:
        """Add or replace a session's subscription (3.8.4-3)."""
        levels = topic_filter.split("/")
        takes_rest = levels[-1] == "#"
        node = self._root
        for level in levels[:-1] if takes_rest else levels:
            if level == "+":
                node.any_level = node.any_level or _Node()
                node = node.any_level
            else:
                following = node.levels.get(level)
                if following is None:
                    following = node.levels[level] = _Node()
                node = following
        if takes_rest:
            node.rest = node.rest or {}
            node.rest[session] = options
        else:
            node.sessions = node.sessions or {}
            node.sessions[session] = options

    def remove(self, topic_filter: str, session: Session) -> None:
        """Remove a session's subscription, and prune levels that are no longer used."""
        levels = topic_filter.split("/")
        takes_rest = levels[-1] == "#"
        path = [self._root]
        for level in levels[:-1] if takes_rest else levels:
            following = path[-1].any_level if level == "+" else path[-1].levels.get(level)
            if following is None:
                return
            path.append(following)
        holders = path[-1].rest if takes_rest else path[-1].sessions
        if holders is not None:
            holders.pop(session, None)
            if not holders:
                if takes_rest:
                    path[-1].rest = None
                else:
                    path[-1].sessions = None
        node = path.pop()
        while path and node.is_empty:
            parent = path.pop()
            level, node = levels[len(path)], parent
            if level == "+":
                parent.any_level = None
            else:
                parent.levels.pop(level, None)

    def match(self, topic: str) -> dict[Session, SubscriptionOptions]:
        """Return the sessions that match a topic, each with the highest QoS of its matching filters (3.3.5-1)."""
        found: dict[Session, SubscriptionOptions] = {}
        levels = topic.split("/")
        self.visited = 0
        if topic[0] == "$":
            # 4.7.2-1: a filter that begins with a wildcard doesn't match these.
            first = self._root.levels.get(levels[0])
            if first is not None:
                self.visited = _collect(first, levels, 1, found)
        else:
            self.visited = _collect(self._root, levels, 0, found)
        return found

    def filters(self) -> Iterator[tuple[str, dict[Session, SubscriptionOptions]]]:
        """Yield every filter with its sessions; for plugins, not for the message path."""
        stack: list[tuple[_Node, str]] = [(self._root, "")]
        while stack:
            node, prefix = stack.pop()
            if node.rest:
                yield f"{prefix}#", node.rest
            if node.sessions:
                yield prefix[:-1], node.sessions
            if node.any_level:
                stack.append((node.any_level, f"{prefix}+/"))
            stack.extend((following, f"{prefix}{level}/") for level, following in node.levels.items())


def _collect(node: _Node, levels: list[str], position: int, found: dict[Session, SubscriptionOptions]) -> int:
    """Collect matches from this node down, and return how many nodes were visited.

    The recursion is as deep as the filters, which `max_topic_levels` bounds.
    """
    visited = 1
    if node.rest:
        _merge(node.rest, found)
    if position == len(levels):
        if node.sessions:
            _merge(node.sessions, found)
        return visited
    following = node.levels.get(levels[position])
    if following is not None:
        visited += _collect(following, levels, position + 1, found)
    if node.any_level is not None:
        visited += _collect(node.any_level, levels, position + 1, found)
    return visited


def _merge(holders: dict[Session, SubscriptionOptions], found: dict[Session, SubscriptionOptions]) -> None:
    for session, options in holders.items():
        other = found.get(session)
        if other is None or other.qos < options.qos:
            found[session] = options
