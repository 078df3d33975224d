"""Which sessions a topic reaches, against an oracle that compares level by level."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.session import Session
from fleetkey.broker.subscriptions import (
    HOLDER_BYTES,
    HOLDERS_PER_UNIT,
    NODES_PER_UNIT,
    UNITS_PER_STEP,
    SubscriptionTrie,
)
from tests.unit.broker.rig import session_of

if TYPE_CHECKING:
    from collections.abc import Generator

SESSIONS = [session_of(f"s{number}") for number in range(3)]
LEVELS = st.sampled_from(["a", "b", "", "$x", "aa"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, rest: "/".join(levels + rest),
    st.lists(LEVELS | st.just("+"), max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)
STEPS = st.lists(
    st.tuples(FILTERS, st.sampled_from(SESSIONS), st.none() | st.integers(0, 2)),
    max_size=30,
)
"""Each adds a subscription with a QoS, or takes it away."""


def _matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic, slowly (4.7)."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        # `a/#` matches `a` as well.
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))


def _match(trie: SubscriptionTrie, topic: str) -> dict[Session, SubscriptionOptions]:
    """Return the sessions that match a topic, without a pause."""
    found: dict[Session, SubscriptionOptions] = {}
    for _ in trie.search(topic, trie.changes, found):
        pass
    return found


def _run(steps: list[tuple[str, Session, int | None]]) -> tuple[SubscriptionTrie, dict[tuple[str, Session], int]]:
    trie, model = SubscriptionTrie(), dict[tuple[str, Session], int]()
    for topic_filter, session, qos in steps:
        if qos is None:
            trie.remove(topic_filter, session)
            model.pop((topic_filter, session), None)
        else:
            trie.add(topic_filter, session, SubscriptionOptions(qos))
            model[topic_filter, session] = qos
    return trie, model


@given(STEPS, st.lists(TOPICS, min_size=1, max_size=5))
def test_match(steps: list[tuple[str, Session, int | None]], topics: list[str]) -> None:
    """Each session once, with the highest QoS of its filters that match."""
    trie, model = _run(steps)
    for topic in topics:
        expected: dict[Session, int] = {}
        for (topic_filter, session), qos in model.items():
            if _matches(topic_filter, topic):
                expected[session] = max(qos, expected.get(session, 0))
        assert {session: options.qos for session, options in _match(trie, topic).items()} == expected


@given(STEPS)
def test_filters(steps: list[tuple[str, Session, int | None]]) -> None:
    """Every subscription there is, under the filter that was asked for."""
    trie, model = _run(steps)
    found = {
        (topic_filter, session): options.qos
        for topic_filter, holders in trie.filters()
        for session, options in holders.items()
    }
    assert found == model


@given(STEPS)
def test_empty_after_removal(steps: list[tuple[str, Session, int | None]]) -> None:
    """Nothing is left of what was taken away, not even a level."""
    trie, model = _run(steps)
    for topic_filter, session in model:
        trie.remove(topic_filter, session)
    assert trie._root.is_empty
    assert list(trie.filters()) == []


@given(STEPS, FILTERS)
def test_remove_what_is_not_there(steps: list[tuple[str, Session, int | None]], topic_filter: str) -> None:
    """A subscription that nobody made can be taken away without a trace."""
    trie, _ = _run(steps)
    before = {name: dict(holders) for name, holders in trie.filters()}
    trie.remove(topic_filter, session_of("another"))
    assert {name: dict(holders) for name, holders in trie.filters()} == before


@pytest.mark.parametrize(
    ("topic_filter", "topic", "is_reached"),
    [
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/+", "$SYS/x", True),
        ("a/#", "a", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+", "/a", False),
        ("+/+", "/a", True),
        ("/#", "/a", True),
        ("a/$x", "a/$x", True),
        ("+/$x", "a/$x", True),
    ],
)
def test_match_of_the_standard(topic_filter: str, topic: str, *, is_reached: bool) -> None:
    """The cases that the standard names (4.7.1, 4.7.2), which the oracle might have wrong as well."""
    trie = SubscriptionTrie()
    trie.add(topic_filter, SESSIONS[0], SubscriptionOptions(1))
    assert bool(_match(trie, topic)) == _matches(topic_filter, topic) == is_reached


def test_add_again() -> None:
    """A subscription that is made again has the newer QoS, also if that is lower."""
    trie = SubscriptionTrie()
    for qos in (2, 0):
        trie.add("a/+", SESSIONS[0], SubscriptionOptions(qos))
        assert _match(trie, "a/b") == {SESSIONS[0]: SubscriptionOptions(qos)}


@given(STEPS)
def test_bytes_returned(steps: list[tuple[str, Session, int | None]]) -> None:
    """By as many bytes as it grew, it shrinks, whoever is last to leave a level."""
    trie, model = SubscriptionTrie(), set[tuple[str, Session]]()
    size = 0
    for topic_filter, session, qos in steps:
        if qos is None:
            size -= trie.remove(topic_filter, session)
            model.discard((topic_filter, session))
        else:
            size += trie.add(topic_filter, session, SubscriptionOptions(qos))
            model.add((topic_filter, session))
        assert size >= len(model) * HOLDER_BYTES
    for topic_filter, session in model:
        size -= trie.remove(topic_filter, session)
    assert size == 0


def _chains(filters: int) -> list[str]:
    return ["/".join(f"{number}-{level}" for level in range(32)) for number in range(filters)]


@pytest.mark.parametrize(
    ("filters", "sessions"),
    [
        pytest.param(_chains(200), 1, id="deep"),
        pytest.param([f"devices/{number:024x}/#" for number in range(11)], 1, id="few_side_by_side"),
        pytest.param([f"devices/{number:024x}/#" for number in range(683)], 1, id="after_growing"),
        pytest.param([f"devices/{number:024x}/#" for number in range(3_000)], 1, id="many_side_by_side"),
        pytest.param(["/".join(levels) for levels in itertools.product("a+", repeat=9)], 1, id="wildcards"),
        pytest.param(["ü/ö/" + "é" * 100, "ж" * 100 + "/#"] * 20, 1, id="not_ascii"),
        pytest.param(["a/b/c"], 11, id="shared_by_few"),
        pytest.param(["a/b/c"], 3_000, id="shared_by_many"),
    ],
)
def test_bytes_are_those_of_the_process(filters: list[str], sessions: int) -> None:
    """What an addition returns is never less than what it takes, and at most 30 % more."""
    who = [session_of(f"s{number}") for number in range(sessions)]
    for session in who:
        # Each is of another budget, which has an account from now on.
        session.memory.charge_anyway("filters", 1)
    trie, options = SubscriptionTrie(), SubscriptionOptions(1)
    # Python has only one of each small number.
    trie.changes = 1_000
    size = 0
    gc.collect()
    tracemalloc.start()
    try:
        for topic_filter in filters:
            for session in who:
                size += trie.add(topic_filter, session, options)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= size <= 1.3 * taken


def _wide(depth: int) -> SubscriptionTrie:
    """Return subscriptions to each filter of so many levels that matches `a/a/…`."""
    trie = SubscriptionTrie()
    for levels in itertools.product("a+", repeat=depth):
        trie.add("/".join(levels), SESSIONS[0], SubscriptionOptions(0))
    return trie


def test_search_in_steps() -> None:
    """However many filters match, a step visits few of them, and all steps together cost what they visit."""
    costs = list(_wide(12).search("/".join("a" * 12), 2**12, {}))
    assert max(costs) <= 2 * UNITS_PER_STEP
    assert sum(costs) >= (2**13 - 1) / NODES_PER_UNIT


def test_search_of_many_sessions_in_steps() -> None:
    """The same for sessions of one filter; those that go in the meantime aren't collected."""
    trie = SubscriptionTrie()
    sessions = [session_of(f"s{number}") for number in range(5_000)]
    for session in sessions:
        trie.add("a/b", session, SubscriptionOptions(1))
    found: dict[Session, SubscriptionOptions] = {}
    search = trie.search("a/b", trie.changes, found)
    next(search)
    collected = []
    for cost in search:
        assert cost <= 2 * UNITS_PER_STEP
        collected.append(len(found))
        if len(collected) == 3:
            trie.remove("a/b", sessions[-1])
            trie.remove("a/b", sessions[0])
            trie.add("a/b", session_of("new"), SubscriptionOptions(1))
    assert len(collected) >= 5_000 / UNITS_PER_STEP / HOLDERS_PER_UNIT
    assert list(found) == sessions[:-1]


def test_search_leaves_out_what_is_newer() -> None:
    """A subscription added after the message isn't found, but one that was replaced since is."""
    trie = SubscriptionTrie()
    first, second = (session_of(name) for name in ("first", "second"))
    trie.add("a/b", first, SubscriptionOptions(0))
    since = trie.changes
    trie.add("a/+", first, SubscriptionOptions(2))
    trie.add("a/b", second, SubscriptionOptions(1))
    trie.add("a/b", first, SubscriptionOptions(1))
    found: dict[Session, SubscriptionOptions] = {}
    list(trie.search("a/b", since, found))
    assert found == {first: SubscriptionOptions(1)}
    assert first.changed_at > since
    assert second.changed_at <= since


@given(STEPS, STEPS, TOPICS)
def test_due(
    before: list[tuple[str, Session, int | None]], after: list[tuple[str, Session, int | None]], topic: str
) -> None:
    """Of each session, the best of the matching filters that it had before and has had ever since."""
    trie, model, since = SubscriptionTrie(), dict[tuple[str, Session], int](), 0
    lasting: set[tuple[str, Session]] = set()
    for session in SESSIONS:
        session.subscriptions.clear()
    for steps in (before, after):
        for topic_filter, session, qos in steps:
            if qos is None:
                trie.remove(topic_filter, session)
                session.subscriptions.pop(topic_filter, None)
                model.pop((topic_filter, session), None)
                lasting.discard((topic_filter, session))
            else:
                trie.add(topic_filter, session, SubscriptionOptions(qos))
                session.subscriptions[topic_filter] = SubscriptionOptions(qos)
                model[topic_filter, session] = qos
        if steps is before:
            since, lasting = trie.changes, set(model)
    for session in SESSIONS:
        expected = [model[name, who] for name, who in lasting if who is session and _matches(name, topic)]
        found = _end(trie.due(topic, since, session))
        assert (found and found.qos) == (max(expected) if expected else None)


def _end(job: Generator[int, None, SubscriptionOptions | None]) -> SubscriptionOptions | None:
    while True:
        try:
            next(job)
        except StopIteration as done:
            found: SubscriptionOptions | None = done.value
            return found
