"""Who receives a topic, remembered until a subscription or a scope that touches it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Action

if TYPE_CHECKING:
    from fleetkey.broker.routing import SubscriptionTree
    from fleetkey.broker.session import Session

__all__ = ["Route", "Routes"]

MAX_ROUTES = 50_000
"""Topics whose receivers are remembered; then it begins anew."""
MAX_ROUTE_BYTES = 4 * 1024 * 1024
"""Bytes of those topics; likewise."""
BRANCH_LEVELS = 2
"""Levels that a topic and a filter have in common when a change of the filter may touch the topic."""


class Route:
    """The receivers of one topic, each with the QoS that it was granted.

    `targets` is None when they may have changed.
    """

    __slots__ = ("head", "targets", "topic")

    def __init__(self, topic: str, topic_bytes: bytes, targets: list[tuple[Session, int]]) -> None:
        self.topic = topic
        self.head = len(topic_bytes).to_bytes(2, "big") + topic_bytes
        """The topic as it begins the body of a PUBLISH (3.3.2)."""
        self.targets: list[tuple[Session, int]] | None = targets

    @property
    def topic_bytes(self) -> bytes:
        """The topic, encoded; made anew at each call."""
        return self.head[2:]


class Routes:
    """Answers of the subscription tree. Whoever holds a route looks at `targets` each time, and asks again for None."""

    def __init__(self, tree: SubscriptionTree) -> None:
        self._tree = tree
        self._branches: dict[str, dict[bytes, Route]] = {}
        """Routes by their first `BRANCH_LEVELS` levels, so that one device's filters leave the others' routes alone."""
        self._count = 0
        self._bytes = 0

    def find(self, topic_bytes: bytes, topic: str) -> Route:
        """Return who receives a topic, as of now."""
        branch = self._branches.get(_branch_of(topic))
        route = branch.get(topic_bytes) if branch is not None else None
        if route is not None:
            return route
        targets = [
            (session, qos)
            for session, qos in self._tree.match(topic).items()
            # What waits for an absent client is decided when it is sent (`Delivery.pump`), by who it is then.
            if session.connection is None or (session.principal and session.principal.allows(Action.RECEIVE, topic))
        ]
        if self._count >= MAX_ROUTES or self._bytes >= MAX_ROUTE_BYTES:
            self.all_changed()
        self._count += 1
        self._bytes += len(topic_bytes)
        route = Route(topic, topic_bytes, targets)
        self._branches.setdefault(_branch_of(topic), {})[topic_bytes] = route
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
            self._forget(self._branches.pop(key))
            return
        route = branch.pop(topic_filter.encode(), None)
        if route is not None:
            route.targets = None
            self._count -= 1
            self._bytes -= len(route.head) - 2
            if not branch:
                del self._branches[key]

    def all_changed(self) -> None:
        """Forget everything; after a change of anybody's scope, too."""
        branches, self._branches = self._branches, {}
        for branch in branches.values():
            self._forget(branch)

    def _forget(self, branch: dict[bytes, Route]) -> None:
        for route in branch.values():
            # Whoever remembers the route must not keep sessions that have ended.
            route.targets = None
            self._bytes -= len(route.head) - 2
        self._count -= len(branch)


def _branch_of(topic: str) -> str:
    first = topic.find("/")
    second = topic.find("/", first + 1) if first >= 0 else -1
    return topic[:second] if second >= 0 else topic
