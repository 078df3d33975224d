"""Filters with `+` in place of an application's devices, and scopes that follow devices, against slow oracles."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.access import Action, TemplateError, TopicScope, decide
from fleetkey.access.decisions.topics import DEVICE_PLACE

NAMES = ("a", "b", "$s", "")
OTHER = "other"
"""A level that no pattern names, like the id of a device outside the scope."""
MAX_DEPTH = 3
EXAMPLES = 300

Levels = tuple[str, ...]

UNIVERSE: tuple[Levels, ...] = tuple(
    levels for depth in range(1, MAX_DEPTH + 2) for levels in itertools.product((*NAMES, OTHER), repeat=depth)
)


def _all_filters(levels: tuple[str, ...]) -> list[Levels]:
    found: list[Levels] = []
    for depth in range(MAX_DEPTH + 1):
        for choice in itertools.product((*levels, "+"), repeat=depth):
            found += [choice] if choice not in {(), ("",)} else []
            found += [(*choice, "#")] if depth < MAX_DEPTH else []
    return found


def _reaches(topic_filter: Levels, topic: Levels) -> bool:
    if topic[0].startswith("$") and topic_filter[0] in {"+", "#"}:
        return False
    for position, level in enumerate(topic_filter):
        if level == "#":
            return True
        if position >= len(topic) or level not in {"+", topic[position]}:
            return False
    return len(topic_filter) == len(topic)


def _oracle_spans(pattern: Levels, topic_filter: Levels) -> bool:
    """Whether a filter stays within a pattern, and has `+`, nothing else, wherever a device's id or serial goes."""
    if topic_filter[0].startswith("$") or topic_filter in {("#",), ("+", "#")}:
        return False
    padded = (*topic_filter, *[OTHER] * len(pattern))
    if any(level == DEVICE_PLACE and padded[position] != "+" for position, level in enumerate(pattern)):
        return False
    anywhere = tuple("+" if level == DEVICE_PLACE else level for level in pattern)
    return all(_reaches(anywhere, topic) for topic in UNIVERSE if _reaches(topic_filter, topic))


ACROSS = [pattern for pattern in _all_filters(("a", "b", DEVICE_PLACE)) if DEVICE_PLACE in pattern]
FILTERS = _all_filters((*NAMES, OTHER))
PLAIN = _all_filters(("a", "b"))
TOPICS = [topic for topic in UNIVERSE if topic != ("",)]


def _text(levels: Levels) -> str:
    return "/".join(levels)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.sampled_from(ACROSS), max_size=3),
    st.lists(st.sampled_from(PLAIN), max_size=2),
    st.sampled_from(FILTERS) | st.sampled_from(ACROSS).map(lambda p: tuple(x.replace(DEVICE_PLACE, "+") for x in p)),
)
def test_decide_across_devices(across: list[Levels], plain: list[Levels], topic_filter: Levels) -> None:
    """Granted exactly if a pattern spans it and each delivery is decided, or as without such patterns."""
    text = _text(topic_filter)
    without = TopicScope(publish=(), subscribe=map(_text, plain))
    scope = TopicScope(publish=(), subscribe=map(_text, plain), across_devices=map(_text, across))
    granted = decide(without, Action.SUBSCRIBE, text)
    assert decide(scope, Action.SUBSCRIBE, text) is granted
    spans = any(_oracle_spans(pattern, topic_filter) for pattern in across)
    assert decide(scope, Action.SUBSCRIBE, text, each_delivery_is_decided=True) is (granted or spans)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(ACROSS), max_size=3), st.sampled_from(TOPICS))
def test_decide_across_devices_no_topic(across: list[Levels], topic: Levels) -> None:
    """Such patterns let nobody publish, receive, or subscribe to a topic by its name."""
    scope = TopicScope(publish=(), subscribe=(), across_devices=map(_text, across))
    assert not any(decide(scope, action, _text(topic), each_delivery_is_decided=True) for action in Action)


@pytest.mark.parametrize(
    ("topic_filter", "granted"),
    [
        *(("devices/+/state", True), ("devices/+/#", True), ("devices/+", True), ("devices/+/+/x", True)),
        *(("devices/1/state", False), ("devices/#", False), ("+/+/state", False), ("#", False), ("+/#", False)),
        *(("$share/g/devices/+/state", False), ("$SYS/#", False), ("Devices/+/state", False), ("/devices/+/x", False)),
        *(
            ("devices/++/state", False),
            ("devices/\0/state", False),
            ("devices/+/x\0", False),
            ("devices//state", False),
        ),
        *(("both/+/+/x", True), ("both/+/1/x", False), ("both/1/+/x", False), ("both/+/#", False)),
        *(("+/up", True), ("+/down", False), ("$x/+/a", False)),
    ],
)
def test_decide_across_devices_examples(topic_filter: str, *, granted: bool) -> None:
    """Only `+` is within a device's place, at each of them."""
    patterns = ("devices/\0/#", "both/\0/\0/x", "\0/up", "$x/\0/a")
    scope = TopicScope(publish=(), subscribe=(), across_devices=patterns)
    assert decide(scope, Action.SUBSCRIBE, topic_filter, each_delivery_is_decided=True) is granted


def test_scope_device_place_elsewhere() -> None:
    """What stands for a device's place is malformed in any other pattern."""
    with pytest.raises(TemplateError):
        TopicScope(publish=("devices/\0/#",), subscribe=())
    with pytest.raises(TemplateError):
        TopicScope(publish=(), subscribe=("devices/\0/#",))
    scope = TopicScope(publish=(), subscribe=())
    with pytest.raises(TemplateError):
        scope.with_devices({"1": ("devices/\0/#",)})


DEVICES = st.dictionaries(
    st.sampled_from("12345"), st.lists(st.sampled_from(PLAIN).map(_text), max_size=3).map(tuple), max_size=5
)
CHANGES = st.dictionaries(
    st.sampled_from("12345"),
    st.none() | st.lists(st.sampled_from(PLAIN).map(_text), max_size=3).map(tuple),
    max_size=4,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(DEVICES, st.lists(CHANGES, min_size=1, max_size=3), st.sampled_from([(), ("a/#",), ("b", "a/+")]))
def test_with_devices(before: dict[str, tuple[str, ...]], steps: list[dict[str, tuple[str, ...]]], own: Levels) -> None:
    """After any changes, a scope decides as one compiled anew does; the older ones decide as before."""
    scope = TopicScope(publish=(), subscribe=own, of_devices=before)
    made = [(scope, _decisions(scope))]
    of_devices = dict(before)
    for step in steps:
        scope, changed = scope.with_devices(step)
        for device_id, patterns in step.items():
            assert changed >= {*(patterns or ()), *of_devices.pop(device_id, ())}
            if patterns is not None:
                of_devices[device_id] = patterns
        fresh = TopicScope(publish=(), subscribe=own, of_devices=of_devices)
        assert scope.has_same_patterns(fresh)
        made.append((scope, _decisions(fresh)))
    for one, expected in made:
        assert _decisions(one) == expected


def _decisions(scope: TopicScope) -> list[bool]:
    texts = [_text(levels) for levels in (*TOPICS[::13], *FILTERS[::13])]
    return [decide(scope, action, text) for action in Action for text in texts]


def test_with_devices_leaves_nothing() -> None:
    """When the last device has left, no node of its patterns is left."""
    devices = {str(number): (f"devices/{number}/#", f"+/{number}/x", "shared/+") for number in range(20)}
    scope = TopicScope(publish=("own",), subscribe=(), of_devices=devices)
    for device_id in devices:
        scope, _ = scope.with_devices({device_id: None})
    for trie, levels in ((scope._publish, ["own"]), (scope._subscribe, [])):
        assert list(trie._root.levels) == levels
        assert trie._root.any_level is None
