"""Topic names and topic filters (4.7)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, publish, subscribe, unsubscribe
from tests.support.versions import EACH_VERSION
from tests.support.wire_clients import EVERYTHING

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION

BROKEN_FILTERS = [
    "a/#/b",
    "#/",
    "#/a",
    "a#",
    "#a",
    "a/b#",
    "a/#b",
    "##",
    "+#",
    "a/##",
    "a/+#",
    "a+",
    "+a",
    "a/b+",
    "a/+b",
    "++",
    "a/++/b",
    "a/+/b+",
]
NEVER_THE_SAME = {
    "case": ("A/b", "a/b"),
    "trailing_slash": ("a/b", "a/b/"),
    "leading_slash": ("a/b", "/a/b"),
    "doubled_slash": ("a/b", "a//b"),
    "dot": ("a/b", "a/./b"),
    "dot_dot": ("a/b", "a/c/../b"),
    "composed": ("caf\u00e9", "cafe\u0301"),
    "compatibility": ("\ufb01", "fi"),
    "full_width": ("\uff41", "a"),
    "kelvin": ("\u212a", "K"),
    "sharp_s": ("\u00df", "ss"),
    "no_break_space": ("a\u00a0b", "a b"),
    "space_at_end": ("a", "a "),
    "zero_width": ("ab", "a\u200bb"),
    "byte_order_mark": ("a", "\ufeffa"),
    "soft_hyphen": ("ab", "a\u00adb"),
    "percent": ("a b", "a%20b"),
    "replacement": ("\ufffd", "\ufffe"),
    "private": ("\ue000", "\ue001"),
}


def _matches(topic_filter: str, topic: str) -> bool:
    """Say what 4.7.1 says, slowly."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in {"+", level} for w, level in zip(wanted, levels, strict=True))


def _every(levels: list[str], longest: int) -> list[str]:
    return ["/".join(chosen) for length in range(1, longest + 1) for chosen in product(levels, repeat=length)]


def test_matching(mqtt: Clients) -> None:
    """Every filter of up to three levels gets exactly what it matches of every such topic (4.7.1-2, 4.7.1-3).

    MQTT 5: 4.7.1-1, 4.7.1-2.
    """
    names = [mqtt.root, f"{mqtt.root}x", ""]
    topics = [topic for topic in _every(names, 3) if topic]
    plain = [mqtt.root, "+", ""]
    filters = [f for f in _every(plain, 3) if f] + ["#"] + [f"{f}/#" for f in _every(plain, 2)]
    wires = {topic_filter: mqtt.subscriber(topic_filter) for topic_filter in filters}
    publisher = mqtt.connect()
    for topic in topics:
        publisher.publish(topic)
    for topic_filter, wire in wires.items():
        got = [message.topic for message in wire.publications()]
        assert got == [topic for topic in topics if _matches(topic_filter, topic)], topic_filter


def test_matching_of_retained_messages(mqtt: Clients) -> None:
    """The same rules decide what a new subscription is sent (4.7.1-2, 4.7.1-3; MQTT 5: 4.7.1-1, 4.7.1-2)."""
    publisher = mqtt.connect(key=mqtt.fleet.application(**EVERYTHING))
    topics = [topic for topic in _every([mqtt.root, f"{mqtt.root}x", ""], 3) if topic]
    for topic in topics:
        publisher.publish(topic, b"kept", qos=1, retain=True)
    wire = mqtt.connect()
    for topic_filter in [
        *filter(None, _every([mqtt.root, "+", ""], 3)),
        "#",
        *(f"{f}/#" for f in _every([mqtt.root, "+", ""], 2)),
    ]:
        wire.subscribe(topic_filter)
        got = [message.topic for message in wire.publications()]
        assert sorted(got) == sorted(topic for topic in topics if _matches(topic_filter, topic)), topic_filter
    for topic in topics:
        publisher.publish(topic, b"", qos=1, retain=True)


@pytest.mark.parametrize(
    "topic_filter", ["+", "+/+", "/+", "+/", "#", "/#", "+/#", "+/+/+", "a/+/#", "+/b/#", "//", "/"]
)
def test_filters_that_may_be(mqtt: Clients, topic_filter: str) -> None:
    """A wildcard may stand on any level, alone; a filter may be nothing but separators (4.7.1-2, 4.7.1-3, 4.7.3).

    MQTT 5: 4.7.1-1, 4.7.1-2.
    """
    assert mqtt.connect().subscribe(topic_filter, qos=1) == [1]


@pytest.mark.parametrize("topic_filter", BROKEN_FILTERS)
def test_misplaced_wildcard(mqtt: Clients, topic_filter: str) -> None:
    """`#` that isn't the whole last level, `+` that isn't a whole level: it is closed (4.7.1-2, 4.7.1-3).

    MQTT 5: 4.7.1-1, 4.7.1-2.
    """
    name = mqtt.name()
    wire = mqtt.connect(name, clean=False)
    wire.send(subscribe(1, (topic_filter, 1)))
    assert wire.is_closed_for(0x81)
    wire = mqtt.connect(name, clean=False)
    wire.publish(topic_filter.replace("#", "x").replace("+", "x"), qos=1)
    assert wire.publications() == []


def test_empty_topic(mqtt: Clients) -> None:
    """Topics and filters have at least one character (4.7.3-1; MQTT 5: 4.7.3-1)."""
    witness = mqtt.witness()
    for sent, reason in (
        (publish(""), 0x82),
        (publish("", qos=1), 0x82),
        (publish("", retain=True), 0x82),
        (subscribe(1, ("", 0)), 0x81),
        (subscribe(1, ("a", 0), ("", 0)), 0x81),
    ):
        wire = mqtt.connect()
        wire.send(sent)
        assert wire.is_closed_for(reason)
    assert witness.publications() == []


def test_nul(mqtt: Clients) -> None:
    """A NUL in a name or a filter closes the connection (4.7.3-2; MQTT 5: 4.7.3-2)."""
    for sent in (publish("a\0b"), publish("a\0b", qos=1), subscribe(1, "a\0b"), unsubscribe(1, "a\0b")):
        wire = mqtt.connect()
        wire.send(sent)
        assert wire.is_closed_for(0x81)


def test_empty_filter_of_unsubscribe(mqtt: Clients) -> None:
    """So has a filter that is unsubscribed (4.7.3-1; MQTT 5: 4.7.3-1)."""
    wire = mqtt.connect()
    wire.send(unsubscribe(1, ""))
    assert wire.is_closed_for(0x81)


def test_empty_will_topic(mqtt: Clients) -> None:
    """And a will's topic, which may not have a wildcard either (4.7.3-1, 4.7.1-1; MQTT 5: 4.7.3-1, 4.7.0-1)."""
    witness = mqtt.witness()
    for topic in ("", "+", "a/#"):
        wire = mqtt.open()
        assert wire.log_in(mqtt.hello(mqtt.name(), will=Will(topic))) != 0
        assert wire.is_closed_by_broker()
    assert witness.publications() == []


@pytest.mark.parametrize("names", NEVER_THE_SAME.values(), ids=NEVER_THE_SAME)
def test_no_normalization(mqtt: Clients, names: tuple[str, str]) -> None:
    """Names that look or mean the same are different ones, and arrive as they were sent (4.7.3-4; MQTT 5: 4.7.3-4)."""
    one, two = map(mqtt.topic, names)
    wires = {topic: mqtt.subscriber(topic) for topic in (one, two)}
    for topic in (one, two):
        mqtt.send(topic, topic.encode(), retain=True)
    for topic, wire in wires.items():
        assert [(got.topic, got.payload) for got in wire.publications()] == [(topic, topic.encode())]
        assert mqtt.retained(topic) == [(topic, topic.encode(), 0)]
    for topic in (one, two):
        mqtt.send(topic, b"", retain=True)


def test_unrecognized_characters(mqtt: Clients) -> None:
    """Unassigned and private characters are matched like all others (4.7.3-4; MQTT 5: 4.7.3-4)."""
    for character in "\u0378\ufdd0\ufffe\U000e0001\U0010fffd":
        topic = mqtt.topic(f"a{character}b")
        wire = mqtt.subscriber(topic)
        for other in (topic, mqtt.topic("ab"), mqtt.topic("a\ufffdb"), mqtt.topic("a?b")):
            wire.publish(other)
        assert [got.topic for got in wire.publications()] == [topic]


def test_long_topics(mqtt: Clients) -> None:
    """A topic's bytes count, not its characters, and the longest that the broker takes passes whole (4.7.3-3).

    MQTT 5: 4.7.3-3.
    """
    topic = mqtt.topic("")
    topic += "\U0001f600" * ((1024 - len(topic)) // 4)
    wire = mqtt.subscriber(topic)
    wire.publish(topic)
    assert [got.topic for got in wire.publications()] == [topic]


@pytest.mark.parametrize("size", [1025, 65_535])
def test_topics_over_the_bound(mqtt: Clients, size: int) -> None:
    """No length field can announce more than 65,535 bytes; the broker's own bound is lower, and closes (4.7.3-3).

    MQTT 5: 4.7.3-3.
    """
    witness, wire = mqtt.witness(), mqtt.connect()
    wire.send(publish("a" * size))
    assert wire.is_closed_for(0x90)
    assert witness.publications() == []
    assert mqtt.connect().subscribe("a" * size) == [0x80]
