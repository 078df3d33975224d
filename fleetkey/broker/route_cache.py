"""Who receives a topic, remembered until a subscription or a scope that touches it changes."""

from __future__ import annotations

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
"""Topics whose receivers are remembered; then it begins anew."""
MAX_ROUTE_BYTES = 4 * 1024 * 1024
"""Bytes of those topics; likewise."""
BRANCH_LEVELS = 2
"""Levels that a topic and a filter have in common when a change of the filter may touch the topic."""


class _Branch:
    """Routes of topics that begin alike; one flag ends all of them."""

    __slots__ = ("is_over", "routes", "size")

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over
        self.routes: dict[bytes, Route] = {}
        self.size = 0
        """Bytes of its topics."""


OVER = _Branch(is_over=True)


class Route:
    """The receivers of one topic, each with the options of its subscription.

    They hold until `branch` is over.
    """

    __slots__ = ("branch", "head", "targets", "topic")

    def __init__(
        self, topic: str, topic_bytes: bytes, targets: list[tuple[Session, SubscriptionOptions]], branch: _Branch
    ) -> None:
        self.topic = topic
        self.branch = branch
        self.head = len(topic_bytes).to_bytes(2, "big") + topic_bytes
        """The topic as it begins the body of a PUBLISH (3.3.2)."""
        self.targets = targets

    def end(self) -> None:
        """Let nobody send by it any more, and keep no session that may have ended."""
        self.branch = OVER
        self.targets = []

    @property
    def topic_bytes(self) -> bytes:
        """The topic, encoded; made anew at each call."""
        return self.head[2:]


class RouteCache:
    """Answers of the subscription trie. Whoever holds one sees whether its branch is over, and then asks again."""

    def __init__(self, trie: SubscriptionTrie, work: WorkQueue) -> None:
        self._trie = trie
        self._work = work
        self._branches: dict[str, _Branch] = {}
        """By the first `BRANCH_LEVELS` levels, so that one device's filters leave the others' routes alone."""
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many are remembered."""
        return self._count

    def find(self, topic_bytes: bytes, topic: str) -> Route:
        """Return who receives a topic, as of now."""
        key = _branch_of(topic)
        branch = self._branches.get(key)
        route = branch.routes.get(topic_bytes) if branch is not None else None
        if route is not None:
            return route
        targets = [
            (session, options)
            for session, options in self._trie.match(topic).items()
            # What waits for an absent client is decided when it is sent (`Delivery.drain`), by who it is then.
            if not session.is_over
            and (session.connection is None or (session.principal and session.principal.allows(Action.RECEIVE, topic)))
        ]
        if self._count >= MAX_ROUTES or self._bytes >= MAX_ROUTE_BYTES:
            self.all_changed()
            branch = None
        if branch is None:
            branch = self._branches[key] = _Branch()
        route = branch.routes[topic_bytes] = Route(topic, topic_bytes, targets, branch)
        branch.size += len(topic_bytes)
        self._count += 1
        self._bytes += len(topic_bytes)
        return route

    def changed(self, topic_filter: str) -> None:
        """Forget what a new, changed or ended subscription may touch."""
        key = _branch_of(topic_filter)
        if "+" in key or "#" in key:
            self.all_changed()
            return
        branch = self._branches.get(key)
        if branch is None:
            return
        if "+" in topic_filter or topic_filter[-1] == "#":
            del self._branches[key]
            self._count -= len(branch.routes)
            self._bytes -= branch.size
            self._end([branch])
            return
        route = branch.routes.pop(topic_filter.encode(), None)
        if route is not None:
            size = len(route.head) - 2
            branch.size -= size
            self._count -= 1
            self._bytes -= size
            route.end()
            if not branch.routes:
                del self._branches[key]

    def all_changed(self) -> None:
        """Forget everything; after a change of anybody's scope, too."""
        branches, self._branches = list(self._branches.values()), {}
        self._count = self._bytes = 0
        if branches:
            self._end(branches)

    def _end(self, branches: list[_Branch]) -> None:
        """Let nobody send by these any more, at once, and let go of what they hold when there is time."""
        for branch in branches:
            branch.is_over = True
        self._work.do(_let_go(branches))


def _let_go(branches: list[_Branch]) -> Iterator[int]:
    """End each route, so that whoever remembers it keeps no session that has ended."""
    for branch in branches:
        while branch.routes:
            branch.routes.popitem()[1].end()
            yield 1


def _branch_of(topic: str) -> str:
    first = topic.find("/")
    second = topic.find("/", first + 1) if first >= 0 else -1
    return topic[:second] if second >= 0 else topic
