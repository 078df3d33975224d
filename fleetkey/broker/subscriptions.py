"""Subscriptions in a trie of topic levels, so that the cost of a match grows with the topic's depth."""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING, Any

from fleetkey.broker.memory_costs import FILTERS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Protocol

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.budget import Account

    class Receiver(Protocol):
        """A session, or a group of sessions that share a subscription."""

        memory: Account
        changed_at: int
        is_over: bool

    class OneSession(Receiver, Protocol):
        """A session."""

        subscriptions: dict[str, SubscriptionOptions]

    Holders = dict[Any, tuple[SubscriptionOptions, int]]
    """Receivers with the same filter, each with its options and the number of the change that added it."""

__all__ = ["SubscriptionTrie"]

NODE_BYTES = 110
"""Memory of a node, in addition to its level's text."""
BRANCH_BYTES = 120
"""Memory of the dictionary of a node with several levels below it, in addition to `ENTRY_BYTES` for each."""
ENTRY_BYTES = 48
"""Memory per level in such a dictionary."""
HOLDERS_BYTES = 280
"""Memory of the dictionary of a filter's sessions, in addition to `HOLDER_BYTES` for each."""
HOLDER_BYTES = 152
"""Memory per session of a filter."""
NODES_PER_UNIT = 2
"""Nodes visited per unit of work (`broker.work`)."""
HOLDERS_PER_UNIT = 4
"""Sessions collected per unit of work."""
COPIED_PER_UNIT = 64
"""Sessions copied per unit of work, before they are collected in several steps."""
FILTERS_PER_UNIT = 2
"""Filters of one session compared with a topic per unit of work."""
UNITS_PER_STEP = 16
"""Units of a search after which it may be paused."""


class _Node:
    __slots__ = ("account", "any_level", "below", "charged", "level", "rest", "sessions")

    def __init__(self, level: str) -> None:
        self.level = level
        self.account: Account | None = None
        """Whose filter it was made for, and who is charged for it, also while others' filters need it."""
        self.charged = 0
        self.below: _Node | dict[str, _Node] | None = None
        """What is below it by level, except `+`. Most nodes have just one, which then takes no dictionary."""
        self.any_level: _Node | None = None
        self.rest: Holders | None = None
        """Subscriptions whose filter ends here with `#`."""
        self.sessions: Holders | None = None
        """Subscriptions whose filter ends here."""

    @property
    def is_empty(self) -> bool:
        return not (self.below or self.any_level or self.rest or self.sessions)

    def get(self, level: str) -> _Node | None:
        """Return the node of a level below; `+` is a level like any other."""
        below = self.below
        if level == "+":
            return self.any_level
        if isinstance(below, dict):
            return below.get(level)
        return below if below is not None and below.level == level else None

    def charge(self, size: int) -> None:
        """Charge memory to the node's account."""
        self.charged += size
        if self.account is not None:
            self.account.charge_anyway(FILTERS, size)

    def release(self) -> None:
        """Release all that was charged."""
        if self.account is not None:
            self.account.release(FILTERS, self.charged)

    def add(self, level: str) -> tuple[_Node, int]:
        """Add a level below, which isn't there yet; return its node and the memory it takes."""
        node, size = _Node(level), _node_size(level)
        below = self.below
        if level == "+":
            self.any_level = node
        elif below is None:
            self.below = node
        elif isinstance(below, dict):
            below[level] = node
            size += ENTRY_BYTES
        else:
            self.below = {below.level: below, level: node}
            size += BRANCH_BYTES + 2 * ENTRY_BYTES
        return node, size

    def remove(self, node: _Node) -> int:
        """Remove a node below; return the memory it took."""
        size, below = _node_size(node.level), self.below
        if node is self.any_level:
            self.any_level = None
        elif isinstance(below, dict):
            del below[node.level]
            size += ENTRY_BYTES
            if not below:
                self.below = None
                size += BRANCH_BYTES
        else:
            self.below = None
        return size

    def all_below(self) -> Iterator[_Node]:
        if isinstance(self.below, dict):
            yield from self.below.values()
        elif self.below is not None:
            yield self.below
        if self.any_level is not None:
            yield self.any_level


class SubscriptionTrie:
    """Subscriptions of all sessions."""

    def __init__(self) -> None:
        self._root = _Node("")
        self.changes = 0
        """How many changes there were; a message accepted at one of them isn't due to a subscription added later."""

    def add(self, topic_filter: str, session: Receiver, options: SubscriptionOptions) -> int:
        """Add or replace a session's subscription (3.8.4-3); return the bytes by which the trie grew.

        They are charged to the session's owner. Nodes remain charged to the owner they were made for.
        """
        levels, memory = topic_filter.split("/"), session.memory
        grown = of_others = 0
        takes_rest = levels[-1] == "#"
        node = self._root
        for level in levels[:-1] if takes_rest else levels:
            following = node.get(level)
            if following is None:
                following, size = node.add(level)
                following.account, following.charged = memory, size
                grown += size
            node = following
        holders = node.rest if takes_rest else node.sessions
        if holders is None:
            holders = {}
            node.account = node.account or memory
            if node.account is memory:
                node.charged += HOLDERS_BYTES
                grown += HOLDERS_BYTES
            else:
                node.charge(HOLDERS_BYTES)
                of_others = HOLDERS_BYTES
            if takes_rest:
                node.rest = holders
            else:
                node.sessions = holders
        self.changes += 1
        older = holders.get(session)
        if older is None:
            holders[session] = options, self.changes
            memory.charge_anyway(FILTERS, grown + HOLDER_BYTES)
            return grown + of_others + HOLDER_BYTES
        # What was published before is still due to it, by its new options.
        holders[session] = options, older[1]
        session.changed_at = self.changes
        return grown

    def remove(self, topic_filter: str, session: Receiver) -> int:
        """Remove a session's subscription and the levels no longer used; return the bytes by which the trie shrank."""
        path = self._path(topic_filter)
        if path is None:
            return 0
        node, shrunk = path.pop(), 0
        takes_rest = topic_filter[-1] == "#"
        holders = node.rest if takes_rest else node.sessions
        if holders is None or holders.pop(session, None) is None:
            return 0
        self.changes += 1
        session.changed_at = self.changes
        session.memory.release(FILTERS, HOLDER_BYTES)
        shrunk += HOLDER_BYTES
        if not holders:
            node.charge(-HOLDERS_BYTES)
            if not node.charged:
                # The root, which stays; the account may be forgotten by now.
                node.account = None
            shrunk += HOLDERS_BYTES
            if takes_rest:
                node.rest = None
            else:
                node.sessions = None
        while path and node.is_empty:
            parent = path.pop()
            shrunk += parent.remove(node)
            node.release()
            node = parent
        return shrunk

    def _path(self, topic_filter: str) -> list[_Node] | None:
        """Return the nodes of a filter from the root on; None if there is no such filter."""
        levels = topic_filter.split("/")
        path = [self._root]
        for level in levels[:-1] if levels[-1] == "#" else levels:
            following = path[-1].get(level)
            if following is None:
                return None
            path.append(following)
        return path

    def search(self, topic: str, since: int, found: dict[Any, SubscriptionOptions]) -> Iterator[int]:
        """Collect the sessions that match a topic, each with what its matching filters ask for (3.3.5-1).

        An iterator that does a little at each step, and yields the units of work done. Subscriptions added after
        `since`, a value of `changes`, are left out. Those changed or removed while it runs may or may not be seen;
        their sessions have a later `changed_at`.
        """
        levels = topic.split("/")
        depth = len(levels)
        stack = [(self._root, 0)]
        if topic[0] == "$":
            # 4.7.2-1: a filter that begins with a wildcard doesn't match these.
            first = self._root.get(levels[0])
            stack = [(first, 1)] if first is not None else []
        units = 0.0
        while stack:
            node, position = stack.pop()
            units += 1 / NODES_PER_UNIT
            for holders in (node.rest, node.sessions if position == depth else None):
                if holders is None:
                    continue
                if len(holders) > UNITS_PER_STEP * HOLDERS_PER_UNIT:
                    yield from _collect_in_steps(holders, since, found)
                else:
                    _collect(holders, since, found)
                    units += len(holders) / HOLDERS_PER_UNIT
            if position < depth:
                if node.any_level is not None:
                    stack.append((node.any_level, position + 1))
                following = node.get(levels[position])
                if following is not None:
                    stack.append((following, position + 1))
            if units >= UNITS_PER_STEP:
                yield int(units)
                units = 0.0
        yield 1 + int(units)

    def due(self, topic: str, since: int, session: OneSession) -> Generator[int, None, SubscriptionOptions | None]:
        """Find how one session is served by its own filters that match a topic and were not added after `since`.

        An iterator like `search`; it returns None if there is no such filter.
        """
        best: SubscriptionOptions | None = None
        for number, topic_filter in enumerate(list(session.subscriptions), 1):
            if _matches(topic_filter, topic):
                path = self._path(topic_filter)
                holders = path and (path[-1].rest if topic_filter[-1] == "#" else path[-1].sessions)
                options, added = holders.get(session, (None, 0)) if holders else (None, 0)
                if options is not None and added <= since:
                    best = options if best is None else best.merged(options)
            if not number % (UNITS_PER_STEP * FILTERS_PER_UNIT):
                yield UNITS_PER_STEP
        return best

    def filters(self) -> Iterator[tuple[str, dict[Any, SubscriptionOptions]]]:
        """Yield every filter with its sessions; for plugins, not for the message path."""
        stack: list[tuple[_Node, str]] = [(self._root, "")]
        while stack:
            node, prefix = stack.pop()
            if node.rest:
                yield f"{prefix}#", {session: options for session, (options, _) in node.rest.items()}
            if node.sessions:
                yield prefix[:-1], {session: options for session, (options, _) in node.sessions.items()}
            stack.extend((following, f"{prefix}{following.level}/") for following in node.all_below())


def _node_size(level: str) -> int:
    # Python has only one of each text of a single ASCII character.
    return NODE_BYTES + (0 if len(level) <= 1 and level.isascii() else getsizeof(level))


def _collect(holders: Holders, since: int, found: dict[Any, SubscriptionOptions]) -> None:
    for session, (options, added) in holders.items():
        if added <= since:
            other = found.get(session)
            found[session] = options if other is None else other.merged(options)


def _collect_in_steps(holders: Holders, since: int, found: dict[Any, SubscriptionOptions]) -> Iterator[int]:
    """Collect many sessions. A copy, since they may change in the meantime: that takes a fraction of collecting."""
    sessions = list(holders)
    yield 1 + len(sessions) // COPIED_PER_UNIT
    for start in range(0, len(sessions), UNITS_PER_STEP * HOLDERS_PER_UNIT):
        part = sessions[start : start + UNITS_PER_STEP * HOLDERS_PER_UNIT]
        _collect({session: holders[session] for session in part if session in holders}, since, found)
        yield 1 + len(part) // HOLDERS_PER_UNIT


def _matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic (4.7)."""
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        del wanted[-1], levels[len(wanted) :]
    return len(wanted) == len(levels) and all(name in ("+", level) for name, level in zip(wanted, levels, strict=True))
