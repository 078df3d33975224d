"""Caches the receivers of each topic until a subscription or a scope that affects it changes."""

from __future__ import annotations

from collections import deque
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from fleetkey.access import Action
from fleetkey.broker.codec.values import LONGEST_PACKET
from fleetkey.broker.delivery import BYTES_PER_SEND
from fleetkey.broker.memory_costs import IDENTIFIER_BYTES
from fleetkey.broker.shared_group import SHARED

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.session import Session
    from fleetkey.broker.subscriptions import SubscriptionTrie
    from fleetkey.broker.work import WorkQueue

    Targets = list[tuple[Any, SubscriptionOptions]]
    """Sessions with their options, and groups with `SHARED` instead."""

__all__ = ["Route", "RouteCache"]

MAX_ROUTES = 50_000
"""Cached topics; beyond that, the cache is cleared."""
MAX_ROUTE_BYTES = 32 * 1024 * 1024
"""Bytes of cached topics and receivers; beyond that, the cache is cleared, and nothing is cached until it is freed."""
ROUTE_BYTES = 276
"""Memory per topic, in addition to its text, which is there three times: also as key and as beginning of a packet."""
BRANCH_BYTES = 390
"""Memory per group of topics with the same leading levels, in addition to these levels."""
RECEIVER_BYTES = 76
"""Memory per receiver of a topic: a tuple and its slot in a list."""
OPTIONS_BYTES = 150
"""More memory for one whose options are its own, because several of its filters match."""
RECEIVERS_PER_UNIT = 8
"""Receivers released per unit of work."""
CHECKED_PER_STEP = 16
"""Receivers whose scope is checked per step of a search, of `UNITS_PER_CHECK` each."""
UNITS_PER_CHECK = 2
SEARCH_AT_ONCE = 64
"""Units of work after which the search for a new topic's receivers is left to the turns of its first message."""
SENDS_AT_ONCE = 16
"""Receivers that are sent a message at once, each `BYTES_PER_SEND` of it counted; for more, it takes turns."""
NEVER = -1
BRANCHES_PER_UNIT = 32
"""Branches invalidated per unit of work."""
PATTERNS_AT_ONCE = 64
"""Patterns of a changed scope for which branches are looked up; for more, everything is forgotten."""
BRANCH_LEVELS = 2
"""Leading levels by which topics are grouped: a change to a filter affects only topics that share them."""


class _Branch:
    """The routes of topics with the same leading levels, which one flag invalidates."""

    __slots__ = ("is_over", "routes", "size")

    def __init__(self, *, size: int = 0, is_over: bool = False) -> None:
        self.is_over = is_over
        self.routes: dict[bytes, Route] = {}
        self.size = size
        """Bytes that it takes, with its topics and receivers."""


OVER = _Branch(is_over=True)


class Route:
    """The receivers of one topic, each with its subscription options.

    Valid until `branch` is over.
    """

    __slots__ = ("branch", "head", "is_found", "is_plain", "quick_bytes", "raw_bytes", "targets", "topic")

    def __init__(self, topic: str, topic_bytes: bytes, branch: _Branch) -> None:
        self.topic = topic
        self.branch = branch
        self.head = len(topic_bytes).to_bytes(2, "big") + topic_bytes
        """The topic as encoded at the beginning of a PUBLISH body (3.3.2)."""
        self.targets: Targets = []
        self.is_found = False
        """Whether `targets` are known; otherwise the search is left to the first message."""
        self.quick_bytes = NEVER
        """How long a message may be to be sent to all of them at once; `NEVER` also while an earlier one is sent."""
        self.is_plain = True
        """Whether all targets are sent a message as any subscription of MQTT 3.1.1 is."""
        self.raw_bytes = NEVER
        """How long a packet may be to be forwarded to all of them at once as it arrived."""

    def end(self) -> None:
        """Invalidate the route, and release its sessions, which may have ended."""
        self.branch = OVER
        self.targets = []

    def hold(self) -> None:
        """Send nothing at once: an earlier message is still being sent."""
        self.quick_bytes = self.raw_bytes = NEVER

    def release(self) -> None:
        """Send short messages at once again."""
        if self.is_found:
            count = len(self.targets)
            self.quick_bytes = SENDS_AT_ONCE // count * BYTES_PER_SEND - 1 if count else LONGEST_PACKET
            self.raw_bytes = self.quick_bytes if self.is_plain else NEVER

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        size = self.text_bytes + RECEIVER_BYTES * len(self.targets)
        if not self.is_plain:
            size += sum(OPTIONS_BYTES + IDENTIFIER_BYTES * len(options.identifiers) for _, options in self.targets)
        return size

    @property
    def text_bytes(self) -> int:
        """Bytes that it takes without its receivers."""
        return ROUTE_BYTES + getsizeof(self.topic) + 2 * getsizeof(self.head)

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
        self.bytes = 0
        """Bytes of all cached topics and receivers, and of those that are over but not released yet."""
        self.spent = 0
        """Units of work that the last `find` took; 0 on a cache hit."""
        self._ended: deque[_Branch] = deque()
        """Branches that are over but still hold routes."""

    def __len__(self) -> int:
        """Return the number of cached routes."""
        return self._count

    def get(self, topic_bytes: bytes, topic: str) -> Route | None:
        """Return a topic's route if it is cached."""
        branch = self._branches.get(_branch_of(topic))
        return branch.routes.get(topic_bytes) if branch is not None else None

    def find(self, topic_bytes: bytes, topic: str) -> Route:
        """Return the current receivers of a topic.

        They aren't found yet if that takes more than `SEARCH_AT_ONCE`, or if nothing can be cached now.
        """
        key = _branch_of(topic)
        branch = self._branches.get(key)
        route = branch.routes.get(topic_bytes) if branch is not None else None
        self.spent = 0
        if route is not None:
            return route
        if self._is_full():
            return Route(topic, topic_bytes, OVER)
        if branch is None:
            branch = self._branches[key] = _Branch(size=BRANCH_BYTES + getsizeof(key))
            self.bytes += branch.size
        route = branch.routes[topic_bytes] = Route(topic, topic_bytes, branch)
        self._count += 1
        self._grow(branch, route.size)
        search = self.search(route, self._trie.changes)
        for cost in search:
            self.spent += cost
            if self.spent >= SEARCH_AT_ONCE:
                search.close()
                break
        return route

    def search(self, route: Route, since: int) -> Generator[int, None, Targets]:
        """Find the receivers of a topic: a part of a job for `WorkQueue`.

        If the route is still valid afterwards, it has them. Otherwise they are what they were, without subscriptions
        added after `since`, and the caller must check each of them.
        """
        found: dict[Any, SubscriptionOptions] = {}
        topic = route.topic
        yield from self._trie.search(topic, since, found)
        targets: Targets = []
        is_plain = True
        for number, (session, options) in enumerate(found.items(), 1):
            if options is SHARED:
                # Which of its members may have a message is decided for each message.
                is_due = not session.is_over
                is_plain = False
            else:
                is_due = not session.is_over and _is_due(session, topic)
                is_plain = is_plain and options.is_plain
            if is_due:
                targets.append((session, options))
            if not number % CHECKED_PER_STEP:
                yield CHECKED_PER_STEP * UNITS_PER_CHECK
        if not route.branch.is_over:
            size = route.size
            route.targets, route.is_found, route.is_plain = targets, True, is_plain
            route.release()
            self._grow(route.branch, route.size - size)
        return targets

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
            self._end([branch])
            return 1
        route = branch.routes.pop(topic_filter.encode(), None)
        if route is None:
            return 1
        cost = 1 + len(route.targets) // RECEIVERS_PER_UNIT
        self._count -= 1
        self._grow(branch, -route.size)
        route.end()
        if not branch.routes:
            del self._branches[key]
            self.bytes -= branch.size
        return cost

    def scope_changed(self, patterns: Collection[str] | None) -> None:
        """Forget the routes that a principal's gain or loss of patterns may affect; None for any."""
        if patterns is None or len(patterns) > PATTERNS_AT_ONCE:
            self.all_changed()
            return
        for pattern in patterns:
            self.changed(pattern)

    def all_changed(self) -> None:
        """Forget everything."""
        branches, self._branches = self._branches, {}
        if branches:
            self._end(branches.values())

    def _is_full(self) -> bool:
        """Whether nothing more may be cached; what is cached ends then, to make room for what is used now."""
        if self._count < MAX_ROUTES and self.bytes < MAX_ROUTE_BYTES:
            return False
        if not self._ended:
            self.all_changed()
        return True

    def _grow(self, branch: _Branch, size: int) -> None:
        branch.size += size
        self.bytes += size

    def _end(self, branches: Iterable[_Branch]) -> None:
        """Invalidate branches now, and release what they hold later."""
        is_going_on = bool(self._ended)
        for branch in branches:
            branch.is_over = True
            self._count -= len(branch.routes)
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
            self.bytes -= branch.size
            self._ended.popleft()


def _is_due(session: Session, topic: str) -> bool:
    """Whether a message is sent to a session, or queued for it."""
    principal = session.principal
    if session.connection is not None:
        return principal is not None and principal.allows(Action.RECEIVE, topic)
    # `Delivery.drain` authorizes each message when it sends it. But an application's filter may span a whole fleet, of
    # which it reaches a few devices: messages of the others would take their place in the queue. What another key of
    # the owner may have isn't known before it connects.
    is_known = principal is not None and principal.device_id is None and not principal.is_revoked
    return not is_known or (principal is not None and principal.allows(Action.RECEIVE, topic))


def _branch_of(topic: str) -> str:
    first = topic.find("/")
    second = topic.find("/", first + 1) if first >= 0 else -1
    return topic[:second] if second >= 0 else topic
