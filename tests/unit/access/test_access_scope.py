"""Topic decisions, against an oracle that tries every topic there is."""

from __future__ import annotations

import itertools
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.access import Action, TopicScope, decide

IN_PATTERNS = ("a", "b", "", "$s", "é")
ELSEWHERE = "other"
"""A level that no pattern names, so that only wildcards match it."""
MAX_DEPTH = 4
MAX_EXHAUSTIVE_DEPTH = 3
EXAMPLES = 200

Levels = tuple[str, ...]

# One empty level isn't a topic (MQTT 3.1.1, 4.7.3-1), but it is the parent of `/x`, which `/#` matches by 4.7.1-2:
# a pattern that covers `/#` must cover it, too.
UNIVERSE: tuple[Levels, ...] = tuple(
    levels for depth in range(1, MAX_DEPTH + 1) for levels in itertools.product((*IN_PATTERNS, ELSEWHERE), repeat=depth)
)
TOPICS = tuple(levels for levels in UNIVERSE if levels != ("",))


def _oracle_matches(pattern: Levels, topic: Levels) -> bool:
    """Match a topic as MQTT 3.1.1, 4.7 says, word for word."""
    if topic[0].startswith("$") and pattern[0] in {"+", "#"}:
        return False
    for position, level in enumerate(pattern):
        if level == "#":
            return True
        if position >= len(topic) or level not in {"+", topic[position]}:
            # 4.7.1-2: `sport/#` also matches `sport`, its parent.
            return False
    return len(pattern) == len(topic)


@cache
def _oracle_reach(topic_filter: Levels) -> frozenset[Levels]:
    """Return every topic that a filter matches, by trying all of them."""
    return frozenset(topic for topic in UNIVERSE if _oracle_matches(topic_filter, topic))


def _all_filters(levels: Levels, max_depth: int) -> list[Levels]:
    """Return the filters up to a depth, counting a final `#`, so that the universe has every topic they need."""
    found: list[Levels] = []
    for depth in range(max_depth + 1):
        for choice in itertools.product((*levels, "+"), repeat=depth):
            found += [choice] if choice not in {(), ("",)} else []
            found += [(*choice, "#")] if depth < max_depth else []
    return found


def _subscribing(*patterns: Levels) -> TopicScope:
    return TopicScope(publish=["only/for/publishing"], subscribe=["/".join(pattern) for pattern in patterns])


PATTERNS = st.lists(st.sampled_from(_all_filters(IN_PATTERNS, MAX_DEPTH)), max_size=4)
FILTERS = st.sampled_from(_all_filters((*IN_PATTERNS, ELSEWHERE), MAX_DEPTH))


def test_decide_subscribe_every_pair() -> None:
    """For all patterns and filters of up to three levels: allowed exactly if the pattern covers all its topics."""
    filters = _all_filters((*IN_PATTERNS, ELSEWHERE), MAX_EXHAUSTIVE_DEPTH)
    texts = ["/".join(topic_filter) for topic_filter in filters]
    wrong = [
        (pattern, text)
        for pattern in _all_filters(IN_PATTERNS, MAX_EXHAUSTIVE_DEPTH)
        for scope in [_subscribing(pattern)]
        for topic_filter, text in zip(filters, texts, strict=True)
        if decide(scope, Action.SUBSCRIBE, text) is not (_oracle_reach(topic_filter) <= _oracle_reach(pattern))
    ]
    assert wrong == []


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATTERNS, FILTERS)
def test_decide_subscribe(patterns: list[Levels], topic_filter: Levels) -> None:
    """A filter is allowed exactly if one subscribe pattern covers every topic that it can match."""
    expected = any(_oracle_reach(topic_filter) <= _oracle_reach(pattern) for pattern in patterns)
    assert decide(_subscribing(*patterns), Action.SUBSCRIBE, "/".join(topic_filter)) is expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATTERNS, PATTERNS, st.sampled_from(TOPICS))
def test_decide_publish_and_receive(patterns: list[Levels], others: list[Levels], topic: Levels) -> None:
    """A topic is allowed exactly if a pattern of that direction matches it; publishing to `$` topics never is."""
    texts, other_texts = ["/".join(pattern) for pattern in patterns], ["/".join(pattern) for pattern in others]
    expected = any(_oracle_matches(pattern, topic) for pattern in patterns)
    text = "/".join(topic)
    assert decide(TopicScope(publish=other_texts, subscribe=texts), Action.RECEIVE, text) is expected
    may_publish = decide(TopicScope(publish=texts, subscribe=other_texts), Action.PUBLISH, text)
    assert may_publish is (expected and not text.startswith("$"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATTERNS, FILTERS)
def test_decide_subscribe_then_receive(patterns: list[Levels], topic_filter: Levels) -> None:
    """A principal that may subscribe to a filter may receive every topic that it matches: the two never disagree."""
    scope = _subscribing(*patterns, topic_filter)
    assert decide(scope, Action.SUBSCRIBE, "/".join(topic_filter))
    for topic in _oracle_reach(topic_filter) - {("",)}:
        assert decide(scope, Action.RECEIVE, "/".join(topic))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=12), st.sampled_from(Action))
def test_decide_any_text(text: str, action: Action) -> None:
    """No text raises, and a scope with a single topic allows that one alone."""
    assert decide(TopicScope(publish=["a/b"], subscribe=["a/b"]), action, text) is (text == "a/b")
