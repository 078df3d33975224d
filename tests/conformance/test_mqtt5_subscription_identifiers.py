"""Subscription identifiers in PUBLISH (3.3.2.3.8, 3.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import publish
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.packets import Publication
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
MOST = 268_435_455


def _identifier(number: int) -> bytes:
    return prop(Name.SUBSCRIPTION_IDENTIFIER, number)


def _identifiers(got: Publication) -> list[int]:
    return sorted(
        value for name, value in got.properties if name == Name.SUBSCRIPTION_IDENTIFIER and isinstance(value, int)
    )


@pytest.mark.parametrize("number", [1, 127, 128, 16_384, 2_097_152, MOST])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_identifier(mqtt: Clients, qos: int, number: int) -> None:
    """A message has the identifier of the subscription because of which it is sent (3.3.4-3)."""
    topic = mqtt.topic("x")
    wire, other = mqtt.connect(), mqtt.subscriber(topic, qos=qos)
    wire.subscribe(topic, qos=qos, properties=_identifier(number))
    wire.publish(topic, qos=qos)
    assert wire.delivery().properties == ((Name.SUBSCRIPTION_IDENTIFIER, number),)
    assert other.delivery().properties == (), "nobody else's subscription has it"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_overlapping_subscriptions(mqtt: Clients, qos: int) -> None:
    """One copy comes for all that match, with the identifiers of all that have one (3.3.4-3, 3.3.4-4, 3.3.4-5)."""
    wire = mqtt.connect()
    filters = {"a/b": 5, "a/+": 70_000, "+/b": None, "a/#": 3, "c": 9}
    for rest, number in filters.items():
        wire.subscribe(mqtt.topic(rest), qos=2, properties=_identifier(number) if number else b"")
    wire.publish(mqtt.topic("a/b"), qos=qos, properties=prop(Name.CONTENT_TYPE, "t"))
    got = wire.delivery()
    assert _identifiers(got) == [3, 5, 70_000]
    assert (Name.CONTENT_TYPE, "t") in got.properties
    wire.publish(mqtt.topic("a"), qos=qos)
    assert _identifiers(wire.delivery()) == [3]
    assert wire.publications() == []


def test_same_identifier_twice(mqtt: Clients) -> None:
    """Two subscriptions may have the same identifier, which then comes twice (3.3.4-4)."""
    wire = mqtt.connect()
    for rest in "a", "+":
        wire.subscribe(mqtt.topic(rest), properties=_identifier(4))
    wire.publish(mqtt.topic("a"))
    assert _identifiers(wire.publication()) == [4, 4]


def test_replaced_identifier(mqtt: Clients) -> None:
    """Subscribing again replaces the identifier, or takes it away; unsubscribing does, too (3.3.4-3)."""
    topic, wire = mqtt.topic("x"), mqtt.connect()
    for properties, expected in (_identifier(1), [1]), (_identifier(2), [2]), (b"", []), (_identifier(3), [3]):
        wire.subscribe(topic, qos=1, properties=properties)
        wire.publish(topic, qos=1)
        assert _identifiers(wire.delivery()) == expected
    wire.unsubscribe(topic)
    wire.subscribe(topic, qos=1)
    wire.publish(topic, qos=1)
    assert _identifiers(wire.delivery()) == []


def test_many_filters_of_one_packet(mqtt: Clients) -> None:
    """The identifier of a packet is that of all its filters (3.3.4-3)."""
    wire = mqtt.connect()
    wire.subscribe(mqtt.topic("a"), mqtt.topic("b"), qos=1, properties=_identifier(6))
    for rest in "a", "b":
        wire.publish(mqtt.topic(rest), qos=1)
        assert _identifiers(wire.delivery()) == [6]


def test_kept_session(mqtt: Clients) -> None:
    """A session keeps its identifiers: what waited has them, and what comes later (3.3.4-3, 3.3.4-4)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False)
    wire.subscribe(topic, qos=1, properties=_identifier(300))
    wire.subscribe(mqtt.topic("+"), qos=1, properties=_identifier(2))
    wire.disconnect()
    mqtt.send(topic, b"waited", qos=1)
    wire = mqtt.connect(name, clean=False)
    wire.publish(topic, b"live", qos=1)
    assert [(got.payload, _identifiers(got)) for got in wire.publications()] == [
        (b"waited", [2, 300]),
        (b"live", [2, 300]),
    ]


def test_shared_subscription(mqtt: Clients) -> None:
    """A message of a shared subscription has the identifier that its receiver gave it (3.3.4-3)."""
    topic = mqtt.topic("x")
    wires = [mqtt.connect() for _ in range(2)]
    for number, wire in enumerate(wires, 1):
        wire.subscribe(f"$share/group/{topic}", qos=1, properties=_identifier(number))
    publisher = mqtt.connect()
    for _ in range(10):
        publisher.publish(topic, qos=1)
    got = [wire.publications() for wire in wires]
    assert sum(map(len, got)) == 10
    for number, each in enumerate(got, 1):
        assert all(_identifiers(message) == [number] for message in each)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_identifier_of_a_publisher(mqtt: Clients, qos: int) -> None:
    """A PUBLISH of a client with an identifier is a protocol error, and reaches nobody (3.3.4-6)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic), mqtt.connect()
    wire.send(publish(topic, qos=qos, properties=_identifier(1)))
    assert wire.is_closed_for(PROTOCOL_ERROR)
    assert witness.publications() == []
