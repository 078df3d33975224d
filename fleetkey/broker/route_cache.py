"""Caches the receivers of each topic until a subscription or a scope that affects it changes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fleetkey.access import Action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.session import Session
    from fleetkey.broker.subscriptions import SubscriptionTrie
    from fleetkey.broker.work import WorkQueue

__all__ = ["Route", "RouteCache"]

MAX_ROUTES = 50_000
"""Cached topics; beyond that, the cache is cleared."""
MAX_ROUTE_BYTES = 16 * 1024 * 1024
"""Bytes of cached topics and receivers; beyond that, the cache is cleared."""
RECEIVER_BYTES = 80
"""Memory per receiver of a topic: a tuple and its slot in a list."""
RECEIVERS_PER_UNIT = 8
"""Receivers released per unit of work."""
BRANCHES_PER_UNIT = 32
"""Branches invalidated per unit of work."""
BRANCH_LEVELS = 2
"""Leading levels by which topics are grouped: a change to a filter affects only topics that share them."""


class _Branch:
    """The routes of topics with the same leading levels, which one flag invalidates."""

    __slots__ = ("is_over", "routes", "size")

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over
        self.routes: dict[bytes, Route] = {}
        self.size = 0
        """Bytes of its topics and receivers."""


OVER = _Branch(is_over=True)


class Route:
    """The receivers of one topic, each with its subscription options.

    Valid until `branch` is over.
    """

    __slots__ = ("branch", "head", "targets", "topic")

    def __init__(
        self, topic: str, topic_bytes: bytes, targets: list[tuple[Session, SubscriptionOptions]], branch: _Branch
    ) -> None:
        self.topic = topic
        self.branch = branch
        self.head = len(topic_bytes).to_bytes(2, "big") + topic_bytes
        """The topic as encoded at the beginning of a PUBLISH body (3.3.2)."""
        self.targets = targets

    def end(self) -> None:
        """Invalidate the route, and release its sessions, which may have ended."""
        self.branch = OVER
        self.targets = []

    @property
    def size(self) -> int:
        """Bytes that it counts against `MAX_ROUTE_BYTES`."""
        return len(self.head) + RECEIVER_BYTES * len(self.targets)

    @property
    def topic_bytes(self) -> bytes:
        """The encoded topic; a new copy at each call."""
        return self.head[2:]


class RouteCache:
    """Caches results of the subscription trie. Callers that keep a route look it up again once its branch is over."""

    def __init__(self, trie: SubscriptionTrie, work: WorkQueue) -> None:
        self._trie = trie
        self._work = work
        self._branches: dict[str, _Branch] = {}
        """By the first `BRANCH_LEVELS` levels, so that one device's filters don't invalidate the routes of others."""
        self._count = 0
        self._bytes = 0
        self.visited = 0
        """Trie nodes that the last `find` visited; 0 on a cache hit."""
        self._ended: deque[_Branch] = deque()
        """Branches that are over but still hold routes."""

    def __len__(self) -> int:
        """Return the number of cached routes."""
        return self._count

    def find(self, topic_bytes: bytes, topic: str) -> Route:
        """Return the current receivers of a topic."""
        key = _branch_of(topic)
        branch = self._branches.get(key)
        route = branch.routes.get(topic_bytes) if branch is not None else None
        if route is not None:
            self.visited = 0
            return route
        targets = [
            (session, options)
            for session, options in self._trie.match(topic).items()
            # For a disconnected client, `Delivery.drain` authorizes each message when it sends it.
            if not session.is_over
            and (session.connection is None or (session.principal and session.principal.allows(Action.RECEIVE, topic)))
        ]
        self.visited = self._trie.visited
        if self._count >= MAX_ROUTES or self._bytes >= MAX_ROUTE_BYTES:
            self.all_changed()
            branch = None
        if branch is None:
            branch = self._branches[key] = _Branch()
        route = branch.routes[topic_bytes] = Route(topic, topic_bytes, targets, branch)
        branch.size += route.size
        self._count += 1
        self._bytes += route.size
        return route

    def changed(self, topic_filter: str) -> int:
        """Forget routes that a new, changed or removed subscription may affect; return the units of work done."""
        key = _branch_of(topic_filter)
        if "+" in key or "#" in key:
            cost = 1 + len(self._branches) // BRANCHES_PER_UNIT
            self.all_changed()
            return cost
        branch = self._branches.get(key)
        if branch is None:
            return 1
        if "+" in topic_filter or topic_filter[-1] == "#":
            del self._branches[key]
            self._count -= len(branch.routes)
            self._bytes -= branch.size
            self._end([branch])
            return 1
        route = branch.routes.pop(topic_filter.encode(), None)
        if route is None:
            return 1
        cost = 1 + len(route.targets) // RECEIVERS_PER_UNIT
        branch.size -= route.size
        self._count -= 1
        self._bytes -= route.size
        route.end()
        if not branch.routes:
            del self._branches[key]
        return cost

    def all_changed(self) -> None:
        """Forget everything; also called when any scope changes."""
        branches, self._branches = list(self._branches.values()), {}
        self._count = self._bytes = 0
        if branches:
            self._end(branches)

    def _end(self, branches: list[_Branch]) -> None:
        """Invalidate branches now, and release what they hold later."""
        for branch in branches:
            branch.is_over = True
        is_going_on = bool(self._ended)
        self._ended.extend(branches)
        if not is_going_on:
            # A single job for all of them: one packet may change many filters.
            self._work.do_later(self._let_go())

    def _let_go(self) -> Iterator[int]:
        """End each route, so that connections that cached it don't keep ended sessions in memory."""
        while self._ended:
            branch = self._ended[0]
            while branch.routes:
                route = branch.routes.popitem()[1]
                cost = 1 + len(route.targets) // RECEIVERS_PER_UNIT
                route.end()
                yield cost
            self._ended.popleft()


def _branch_of(topic: str) -> str:
    first = topic.find("/")
    second = topic.find("/", first + 1) if first >= 0 else -1
    return topic[:second] if second >= 0 else topic
