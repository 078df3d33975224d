"""Who receives a topic, remembered no longer than it is true; counted in turns of a loop that a test turns by hand."""

from __future__ import annotations

import functools
import gc
import itertools
import re
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.access import Principal, TopicScope
from fleetkey.broker import route_cache
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.codec.values import LONGEST_PACKET
from fleetkey.broker.delivery import BYTES_PER_SEND
from fleetkey.broker.route_cache import (
    BRANCHES_PER_UNIT,
    NEVER,
    PATTERNS_AT_ONCE,
    RECEIVER_BYTES,
    RECEIVERS_PER_UNIT,
    SEARCH_AT_ONCE,
    SENDS_AT_ONCE,
    RouteCache,
)
from fleetkey.broker.session import Session
from fleetkey.broker.subscriptions import NODES_PER_UNIT, SubscriptionTrie
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN, WorkQueue
from fleetkey.registry import KeyKind
from tests.unit.broker.rig import Loop, session_of

if TYPE_CHECKING:
    from fleetkey.broker.route_cache import Route


OPTIONS = SubscriptionOptions(1)


class Table:
    """Routes over a tree, and the loop that they are let go of on."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.trie = SubscriptionTrie()
        self.routes = RouteCache(self.trie, WorkQueue(self.loop.as_loop()))

    def find(self, topic: str) -> Route:
        """Return who receives a topic, even if that takes long."""
        route = self.routes.find(topic.encode(), topic)
        if not route.is_found:
            list(self.routes.search(route, self.trie.changes))
        return route

    def subscribe(self, topic_filter: str) -> Session:
        """Let a new session, whose client is away, subscribe."""
        session = session_of(topic_filter)
        self.trie.add(topic_filter, session, OPTIONS)
        self.routes.changed(topic_filter)
        return session


@pytest.mark.parametrize(
    ("topic_filter", "is_over"),
    [
        pytest.param("a/b/c", True, id="the_topic"),
        pytest.param("a/b/d", False, id="another_topic"),
        pytest.param("a/b/+", True, id="wildcard_of_the_branch"),
        pytest.param("a/b/#", True, id="rest_of_the_branch"),
        pytest.param("a/+/c", True, id="wildcard_of_all_branches"),
        pytest.param("#", True, id="everything"),
        pytest.param("a/x/#", False, id="another_branch"),
    ],
)
def test_changed(topic_filter: str, *, is_over: bool) -> None:
    """A change ends, at once, each route that it may touch, and no route of another branch."""
    table = Table()
    route = table.find("a/b/c")
    session = table.subscribe(topic_filter)
    assert route.branch.is_over == is_over
    found = table.find("a/b/c")
    assert (found is route) != is_over
    assert ((session, OPTIONS) in found.targets) == is_over


@pytest.mark.parametrize(
    ("patterns", "is_over"),
    [
        pytest.param(["a/b/#"], True, id="its_branch"),
        pytest.param(["a/x/#", "a/b/c"], True, id="the_topic"),
        pytest.param(["+/b/#"], True, id="a_wildcard"),
        pytest.param(["a/x/#", "a/b/d"], False, id="others"),
        pytest.param([f"x/{number}" for number in range(PATTERNS_AT_ONCE + 1)], True, id="many"),
        pytest.param(None, True, id="any"),
    ],
)
def test_scope_changed(patterns: list[str] | None, *, is_over: bool) -> None:
    """A scope's change ends each route that it may touch; only if too many patterns changed does it end all."""
    table = Table()
    route = table.find("a/b/c")
    table.routes.scope_changed(patterns)
    assert route.branch.is_over == is_over


@pytest.mark.parametrize(
    ("kind", "is_revoked", "is_due"),
    [
        pytest.param(KeyKind.APPLICATION, False, False, id="application"),
        pytest.param(KeyKind.APPLICATION, True, True, id="its_scope_is_not_known"),
        pytest.param(KeyKind.DEVICE, False, True, id="device"),
        pytest.param(None, False, True, id="after_a_restart"),
    ],
)
def test_find_for_one_who_is_away(kind: KeyKind | None, *, is_revoked: bool, is_due: bool) -> None:
    """Nothing is queued for an application beyond its scope, if that is known; for a device, it is decided later."""
    table = Table()
    session = table.subscribe("a/+/c")
    if kind is not None:
        session.principal = Principal(
            key="key",
            kind=kind,
            device_id="device" if kind is KeyKind.DEVICE else None,
            name=None,
            scope=TopicScope(publish=(), subscribe=("a/x/c",)),
        )
        session.principal.is_revoked = is_revoked
    assert ((session, OPTIONS) in table.find("a/b/c").targets) == is_due
    assert (session, OPTIONS) in table.find("a/x/c").targets


def test_all_changed_many() -> None:
    """However many routes end, they end at once, and letting go of them takes turns."""
    table = Table()
    routes = [table.find(f"devices/{number}/x") for number in range(5_000)]
    table.routes.all_changed()
    assert len(table.routes) == 0
    assert all(route.branch.is_over for route in routes)
    kept = [route for route in routes if route.branch.routes]
    assert len(kept) >= len(routes) - WORK_AT_ONCE
    turns = 0
    while table.loop.due:
        table.loop.turn()
        turns += 1
    assert turns > 1
    assert not any(route.branch.routes for route in routes)


def test_find_after_all_changed() -> None:
    """What is found while older routes are let go of stays."""
    table = Table()
    for number in range(2_000):
        table.find(f"devices/{number}/x")
    table.routes.all_changed()
    route = table.find("devices/1/x")
    while table.loop.due:
        table.loop.turn()
    assert table.find("devices/1/x") is route
    assert not route.branch.is_over
    assert len(table.routes) == 1


def test_receivers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound in bytes has receivers in it: topics with many of them are remembered in smaller number."""
    monkeypatch.setattr(route_cache, "MAX_ROUTE_BYTES", 150 * RECEIVER_BYTES)
    table = Table()
    for number in range(50):
        table.trie.add("a/b/#", session_of(f"s{number}"), OPTIONS)
    most = 0
    for number in range(40):
        table.find(f"a/b/{number}")
        most = max(most, len(table.routes))
    assert 1 <= most <= 3


def test_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over still counts until it is released, and nothing is cached until then."""
    monkeypatch.setattr(route_cache, "MAX_ROUTE_BYTES", 100 * 1024)
    table = Table()
    number = 0
    while table.routes.bytes < 100 * 1024:
        table.find(f"a/b/{number}")
        number += 1
    held = table.routes.bytes
    route = table.routes.find(b"a/b/new", "a/b/new")
    assert route.branch.is_over
    assert (len(table.routes), table.routes.bytes) == (0, held)
    table.loop.settle()
    assert table.routes.bytes == 0
    assert table.find("a/b/new") is table.find("a/b/new")


@pytest.mark.parametrize("form", ["a/{}/x", "devices/{:024x}/state", "one/branch/{:024x}"])
@pytest.mark.parametrize("receivers", [0, 1, 20])
@pytest.mark.parametrize("topics", [11, 683, 2_000])
def test_bytes(form: str, receivers: int, topics: int) -> None:
    """What counts is never less than what it takes, and at most 30 % more."""
    table = Table()
    for number in range(receivers):
        table.trie.add("#", session_of(f"s{number}"), OPTIONS)
    table.find("first")
    before = table.routes.bytes
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(topics):
            table.routes.find(form.format(number).encode(), form.format(number))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= table.routes.bytes - before <= 1.3 * taken


def test_many_changes_are_one_job() -> None:
    """However many filters change at once, nothing is let go of in that turn, and then as much as one job may take."""
    table = Table()
    routes = [table.find(f"devices/{device}/{number}") for device in range(100) for number in range(100)]
    for device in range(100):
        table.routes.changed(f"devices/{device}/#")
    assert all(route.branch.is_over for route in routes)
    assert all(route.branch.routes for route in routes)
    table.loop.turn()
    assert sum(not route.branch.routes for route in routes) <= WORK_PER_TURN
    while table.loop.due:
        table.loop.turn()
    assert not any(route.branch.routes for route in routes)


def test_changed_costs_what_it_ends() -> None:
    """A change costs its look, the receivers of the topic that it ends, and the branches, if it ends all of them."""
    table = Table()
    assert table.routes.changed("a/b/c") == 1
    for number in range(5 * RECEIVERS_PER_UNIT):
        table.trie.add("a/b/c", session_of(f"s{number}"), OPTIONS)
    for number in range(3 * BRANCHES_PER_UNIT - 1):
        table.find(f"a/{number}")
    table.find("a/b/c")
    assert table.routes.changed("a/b/c") == 1 + 5
    table.find("a/b/c")
    assert table.routes.changed("a/b/#") == 1
    table.find("a/b/c")
    assert table.routes.changed("+/x") == 1 + 3


def test_visited() -> None:
    """What a search costs is told, and remembering costs nothing."""
    table = Table()
    for combination in itertools.product("a+", repeat=4):
        table.trie.add("/".join(combination), session_of("".join(combination)), OPTIONS)
    assert table.find("a/a/a/a").is_found
    assert table.routes.spent >= (2**5 - 1) // NODES_PER_UNIT
    table.find("a/a/a/a")
    assert table.routes.spent == 0


def _wide(table: Table, depth: int) -> None:
    """Subscribe to each filter of so many levels that matches `a/a/…`."""
    for combination in itertools.product("a+", repeat=depth):
        table.trie.add("/".join(combination), session_of("".join(combination)), OPTIONS)


def test_find_stops() -> None:
    """A search that takes long is begun, but no further than a new topic may; `search` finds the rest in steps."""
    table, topic = Table(), "/".join("a" * 10)
    _wide(table, 10)
    route = table.routes.find(topic.encode(), topic)
    assert not route.is_found
    assert route.quick_bytes == NEVER
    assert SEARCH_AT_ONCE <= table.routes.spent < 2 * SEARCH_AT_ONCE
    costs = list(table.routes.search(route, table.trie.changes))
    assert max(costs) <= 2 * SEARCH_AT_ONCE
    assert sum(costs) >= (2**11 - 1) // NODES_PER_UNIT
    assert route.is_found
    assert len(route.targets) == 2**10
    assert table.find(topic) is route


def test_search_overtaken_by_a_change() -> None:
    """A route that is over when its search ends doesn't hold what was found."""
    table, topic = Table(), "/".join("a" * 10)
    _wide(table, 10)
    route = table.routes.find(topic.encode(), topic)
    search = table.routes.search(route, table.trie.changes)
    next(search)
    table.subscribe("a/a/#")
    for _ in search:
        pass
    assert not route.is_found
    assert route.targets == []
    assert table.find(topic) is not route


@pytest.mark.parametrize("receivers", [0, 1, 3, SENDS_AT_ONCE, SENDS_AT_ONCE + 1])
def test_quick_bytes(receivers: int) -> None:
    """The more receivers there are, the shorter is a message that all are sent at once; to many, none is."""
    table = Table()
    for number in range(receivers):
        table.trie.add("a/b", session_of(f"s{number}"), OPTIONS)
    route = table.find("a/b")
    if receivers:
        most = SENDS_AT_ONCE // receivers
        assert route.quick_bytes == (most * BYTES_PER_SEND - 1 if most else NEVER)
    else:
        assert route.quick_bytes == LONGEST_PACKET
    route.hold()
    assert route.quick_bytes == NEVER


def test_count() -> None:
    """The bounds count what is there, whichever way routes end."""
    table = Table()
    for topic in ("a/b/c", "a/b/d", "a/c/e", "x"):
        table.find(topic)
    table.routes.changed("a/b/c")
    assert len(table.routes) == 3
    table.routes.changed("a/b/#")
    assert len(table.routes) == 2
    table.routes.changed("x")
    table.routes.changed("a/c/e")
    assert len(table.routes) == 0
    table.loop.settle()
    assert table.routes.bytes == 0


def test_find_session_that_is_over() -> None:
    """A session that was dropped receives nothing more, also while the tree still has it."""
    table = Table()
    session = table.subscribe("a/b/c")
    assert table.find("a/b/c").targets == [(session, OPTIONS)]
    session.is_over = True
    table.routes.changed("a/b/c")
    assert table.find("a/b/c").targets == []


LEVELS = st.sampled_from(["a", "b", "c"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join)
FILTERS = st.builds(
    lambda levels, rest: "/".join(levels + rest),
    st.lists(LEVELS | st.just("+"), max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


ALL_TOPICS = ["/".join(levels) for depth in range(1, 5) for levels in itertools.product("abc", repeat=depth)]


@functools.cache
def _matched(topic_filter: str) -> set[str]:
    """Return the topics that a filter matches."""
    pattern = topic_filter.replace("+", "[^/]+")
    pattern = pattern[:-2] + "(/.*)?" if pattern.endswith("/#") else pattern.replace("#", ".*")
    return {topic for topic in ALL_TOPICS if re.fullmatch(pattern, topic)}


@given(st.lists(st.tuples(TOPICS, FILTERS, st.booleans()), max_size=30))
def test_routes_that_hold(steps: list[tuple[str, str, bool]]) -> None:
    """Whatever is subscribed to and ended meanwhile, each route that isn't over leads where the tree says."""
    table = Table()
    held: dict[str, Route] = {}
    made: set[str] = set()
    session = session_of("s")
    for topic, topic_filter, is_subscribed in steps:
        held[topic] = table.find(topic)
        if is_subscribed:
            table.trie.add(topic_filter, session, OPTIONS)
            made.add(topic_filter)
        else:
            table.trie.remove(topic_filter, session)
            made.discard(topic_filter)
        table.routes.changed(topic_filter)
        for name, route in held.items():
            expected = [(session, OPTIONS)] if any(name in _matched(each) for each in made) else []
            assert route.branch.is_over or route.targets == expected
            assert table.find(name).targets == expected
    assert len(table.routes) == sum(len(branch.routes) for branch in table.routes._branches.values())
    kept = [*table.routes._branches.values(), *table.routes._ended]
    assert table.routes.bytes == sum(branch.size for branch in kept)
