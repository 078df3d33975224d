"""Retain handling and retain as published (3.3.1.3, 3.8.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import subscribe
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

AS_PUBLISHED = 0x08
ALWAYS, IF_NEW, NEVER = 0x00, 0x10, 0x20


@pytest.mark.parametrize("options", [0, AS_PUBLISHED])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_always(mqtt: Clients, qos: int, options: int) -> None:
    """Retain handling 0: retained messages come with each subscription, with the flag (3.3.1-9, 3.8.4-4)."""
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", qos=qos, retain=True)
    wire = mqtt.connect()
    for _ in range(3):
        assert wire.subscribe(topic, qos=qos, options=ALWAYS | options) == [qos]
        got = wire.delivery()
        assert (got.payload, got.qos, got.retain) == (b"kept", qos, True)
    assert wire.publications() == []


def test_if_new(mqtt: Clients) -> None:
    """Retain handling 1: they come with a subscription only if there was none to that filter (3.3.1-10)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    mqtt.send(topic, b"kept", retain=True)
    wire = mqtt.connect(name, clean=False)
    for is_new, topic_filter in (True, topic), (False, topic), (True, mqtt.topic("+")), (False, mqtt.topic("+")):
        wire.subscribe(topic_filter, options=IF_NEW)
        assert [got.retain for got in wire.publications()] == [True] * is_new
    wire.unsubscribe(topic)
    wire.subscribe(topic, options=IF_NEW)
    assert len(wire.publications()) == 1
    wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    wire.subscribe(topic, options=IF_NEW)
    assert wire.publications() == [], "the session has this subscription"
    wire.disconnect()
    wire = mqtt.connect(name)
    wire.subscribe(topic, options=IF_NEW)
    assert len(wire.publications()) == 1


@pytest.mark.parametrize("first", [ALWAYS, IF_NEW, NEVER])
def test_never(mqtt: Clients, first: int) -> None:
    """Retain handling 2: they don't come, also where the subscription is new (3.3.1-11)."""
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", retain=True)
    wire = mqtt.connect()
    wire.subscribe(topic, options=NEVER)
    assert wire.publications() == []
    wire.subscribe(topic, options=first)
    assert len(wire.publications()) == (first == ALWAYS)
    wire.subscribe(topic, options=NEVER)
    assert wire.publications() == []
    wire.publish(topic, b"live")
    assert [got.payload for got in wire.publications()] == [b"live"]


def test_each_filter_has_its_own(mqtt: Clients) -> None:
    """The filters of one packet are handled each by its own options (3.3.1-9, 3.3.1-10, 3.3.1-11)."""
    wire = mqtt.connect()
    for rest in "abc":
        mqtt.send(mqtt.topic(rest), rest.encode(), retain=True)
    for expected in [b"a", b"b"], [b"a"]:
        wire.send(subscribe(1, (mqtt.topic("a"), ALWAYS), (mqtt.topic("b"), IF_NEW), (mqtt.topic("c"), NEVER)))
        assert sorted(wire.payloads()) == expected


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_as_published(mqtt: Clients, qos: int, granted: int) -> None:
    """With retain as published the flag is as the publisher set it, without it is 0 (3.3.1-12, 3.3.1-13)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    keeping, clearing = mqtt.connect(), mqtt.connect()
    keeping.subscribe(topic, qos=granted, options=AS_PUBLISHED)
    clearing.subscribe(topic, qos=granted)
    away = mqtt.connect(name, clean=False)
    away.subscribe(topic, qos=2, options=AS_PUBLISHED)
    away.disconnect()
    publisher = mqtt.connect()
    flags = [False, True, True, False]
    for retain in flags:
        publisher.publish(topic, b"x", qos=qos, retain=retain)
    for wire, expected in (keeping, flags), (clearing, [False] * 4):
        got = [wire.delivery() for _ in flags]
        assert [(each.retain, each.qos) for each in got] == [(flag, min(qos, granted)) for flag in expected]
    away = mqtt.connect(name, clean=False)
    assert [away.delivery().retain for _ in flags if qos] == (flags if qos else [])


def test_as_published_of_an_empty_message(mqtt: Clients) -> None:
    """An empty message that clears a topic keeps its flag as well (3.3.1-13)."""
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", retain=True)
    wire = mqtt.connect()
    wire.subscribe(topic, options=AS_PUBLISHED | NEVER)
    mqtt.send(topic, b"", retain=True)
    got = wire.publication()
    assert (got.payload, got.retain) == (b"", True)
    assert mqtt.retained(topic) == []


def test_as_published_where_subscriptions_overlap(mqtt: Clients) -> None:
    """Of one copy for several subscriptions, the flag is kept if one of them asks for it (3.3.1-13)."""
    topic = mqtt.topic("x")
    wire = mqtt.connect()
    wire.subscribe(topic)
    wire.subscribe(mqtt.topic("+"), options=AS_PUBLISHED)
    mqtt.send(topic, retain=True)
    assert [got.retain for got in wire.publications()] == [True]


def test_retained_with_an_identifier(mqtt: Clients) -> None:
    """What comes because of a subscription has its identifier (3.3.1-9, 3.3.4-3)."""
    topic = mqtt.topic("x")
    mqtt.send(topic, qos=1, retain=True)
    wire = mqtt.connect()
    wire.subscribe(topic, qos=1, properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 9))
    got = wire.publication()
    assert (got.retain, got.properties) == (True, ((Name.SUBSCRIPTION_IDENTIFIER, 9),))
