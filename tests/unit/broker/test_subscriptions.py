"""Which sessions a topic reaches, against an oracle that compares level by level."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.session import Session
from fleetkey.broker.subscriptions import SubscriptionTrie
from tests.unit.broker.rig import session_of

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
        assert {session: options.qos for session, options in trie.match(topic).items()} == expected


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
    assert bool(trie.match(topic)) == _matches(topic_filter, topic) == is_reached


def test_add_again() -> None:
    """A subscription that is made again has the newer QoS, also if that is lower."""
    trie = SubscriptionTrie()
    for qos in (2, 0):
        trie.add("a/+", SESSIONS[0], SubscriptionOptions(qos))
        assert trie.match("a/b") == {SESSIONS[0]: SubscriptionOptions(qos)}
