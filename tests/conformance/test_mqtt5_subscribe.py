"""SUBSCRIBE and SUBACK of MQTT 5 (3.8, 3.9): options, identifiers, reason codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, codes_of, number_of, packet, properties_of, publish, subscribe
from tests.support.properties import Name, as_properties, prop
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking

if TYPE_CHECKING:
    from tests.support.packets import Packet
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

NO_LOCAL, AS_PUBLISHED = 0x04, 0x08
NEVER = 0x20
"""Retain handling."""


def _subscribe(wire: Wire, topic_filter: str, options: int, properties: bytes = b"") -> Packet:
    return wire.ask(subscribe(wire.new_number(), (topic_filter, options), properties=properties), Kind.SUBACK)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_local(mqtt: Clients, qos: int) -> None:
    """With no local, a message isn't sent to the client id that published it, and to all others is (3.8.3-3)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False)
    other = mqtt.connect()
    for each in (wire, other):
        assert codes_of(_subscribe(each, topic, qos | NO_LOCAL)) == [qos]
    wire.publish(topic, b"mine", qos=qos)
    other.publish(topic, b"other", qos=qos)
    assert wire.payloads() == [b"other"]
    assert other.payloads() == [b"mine"]
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.publications()
    wire.publish(topic, b"mine again", qos=qos)
    assert b"mine again" not in wire.payloads()


def test_no_local_of_one_of_two(mqtt: Clients) -> None:
    """It is about its subscription: another one of the client gets the message (3.8.3-3)."""
    wire = mqtt.connect()
    _subscribe(wire, mqtt.topic("x"), 2 | NO_LOCAL)
    _subscribe(wire, mqtt.topic("+"), 1)
    wire.publish(mqtt.topic("x"), b"1", qos=2)
    assert wire.payloads() == [b"1"]


def test_no_local_of_a_shared_subscription(mqtt: Clients) -> None:
    """No local on a shared subscription is a protocol error (3.8.3-4)."""
    wire = mqtt.connect()
    wire.send(subscribe(1, (f"$share/g/{mqtt.topic('x')}", 1 | NO_LOCAL)))
    assert wire.is_closed_for(0x82)


def test_options_are_replaced(mqtt: Clients) -> None:
    """The same filter again replaces options and identifier, also those of a kept session (3.8.4-3)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False)
    _subscribe(wire, topic, 2 | NO_LOCAL | AS_PUBLISHED, prop(Name.SUBSCRIPTION_IDENTIFIER, 7))
    _subscribe(wire, topic, 1)
    wire.publish(topic, b"1", qos=2, retain=True)
    got = wire.delivery()
    assert (got.payload, got.qos, got.retain, got.properties) == (b"1", 1, False, ())
    _subscribe(wire, topic, 0 | NO_LOCAL | NEVER, prop(Name.SUBSCRIPTION_IDENTIFIER, 8))
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.publish(topic, b"2", qos=2)
    mqtt.send(topic, b"3", qos=2)
    assert [(got.payload, got.qos, got.properties) for got in wire.publications()] == [
        (b"3", 0, ((Name.SUBSCRIPTION_IDENTIFIER, 8),))
    ]


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (b"\x0b\x00", 0x82),
        (b"\x0b\x01\x0b\x01", 0x82),
        (b"\x0b\xff\xff\xff\xff\x7f", 0x81),
        (b"\x11\0\0\0\1", 0x81),
        (b"\x0b", 0x81),
    ],
    ids=["zero", "twice", "too_long", "not_of_it", "cut"],
)
def test_broken_properties(mqtt: Clients, properties: bytes, reason: int) -> None:
    """An identifier of 0, a second one, and a property of other packets close the connection (4.13.1-1)."""
    wire = mqtt.connect()
    wire.send(subscribe(1, mqtt.topic("x"), properties=properties))
    assert wire.is_closed_for(reason)


def test_user_properties(mqtt: Clients) -> None:
    """User properties of a SUBSCRIBE are read, and show nowhere (3.9.2-2)."""
    wire = mqtt.connect()
    got = _subscribe(wire, mqtt.topic("x"), 1, prop(Name.USER_PROPERTY, ("a", "b")) * 2)
    assert (codes_of(got), properties_of(got)) == ([1], [])
    wire.publish(mqtt.topic("x"))
    assert wire.publication().properties == ()


def test_codes(mqtt: Clients) -> None:
    """The codes are 0, 1, 2, 0x87 outside of the scope, and 0x97 over a bound (3.9.3-2, 3.8.4-7)."""
    device = mqtt.fleet.device()
    wire = mqtt.connect(device.client_id, key=device)
    own = device.topic("a")
    filters = {
        own: 2,
        "a": 0x87,
        "#": 0x87,
        "$SYS/#": 0x87,
        "$share/g/a": 0x87,
        f"$share/g/{own}": 2,
        "a" * 5000: 0x97,
        "/" * 40: 0x97,
        device.topic("/" * 40): 0x97,
    }
    got = wire.ask(subscribe(9, *filters, qos=2), Kind.SUBACK)
    assert number_of(got) == 9
    assert codes_of(got) == list(filters.values())


def test_longest_suback(mqtt: Clients) -> None:
    """The reason string is left out where the SUBACK would be longer than its client takes (3.9.2-1)."""
    device = mqtt.fleet.device()

    def answer(properties: bytes = b"") -> Packet:
        wire = mqtt.connect(device.client_id, key=device, properties=properties)
        return wire.ask(subscribe(1, "a", device.topic("b")), Kind.SUBACK)

    whole = answer()
    assert properties_of(whole) == [(Name.REASON_STRING, "filter outside of the key's scope")]
    size = len(whole.body) + 2
    assert answer(prop(Name.MAXIMUM_PACKET_SIZE, size)) == whole
    for properties in (prop(Name.MAXIMUM_PACKET_SIZE, size - 1), prop(Name.REQUEST_PROBLEM, 0)):
        short = answer(properties)
        assert (properties_of(short), codes_of(short)) == ([], [0x87, 0])


@pytest.mark.parametrize("topic_filter", [b"\xff", b"\xed\xa0\x80", b"a\0b", b"\xc0\xaf"])
def test_filter_is_text(mqtt: Clients, topic_filter: bytes) -> None:
    """A filter that isn't well-formed UTF-8 closes the connection, and nothing is subscribed (3.8.3-1)."""
    name = mqtt.name()
    wire = mqtt.connect(name, clean=False)
    wire.send(subscribe(1, mqtt.topic("x"), topic_filter, qos=1))
    assert wire.is_closed_for(0x81)
    mqtt.send(mqtt.topic("x"), qos=1)
    assert mqtt.connect(name, clean=False).publications() == []


def test_filter_without_options(mqtt: Clients) -> None:
    """A filter without its options is malformed (3.8.3-2)."""
    wire = mqtt.connect()
    wire.send(packet(Kind.SUBSCRIBE, 2, b"\0\1" + as_properties() + b"\0\1a"))
    assert wire.is_closed_for(0x81)


def test_messages_of_other_versions(mqtt: Clients) -> None:
    """Options and identifiers hold for what a client of 3.1.1 publishes, and are nothing to one (3.8.4-8)."""
    topic = mqtt.topic("x")
    wire = mqtt.connect()
    _subscribe(wire, topic, 1 | AS_PUBLISHED | NEVER, prop(Name.SUBSCRIPTION_IDENTIFIER, 5))
    with speaking(LEVEL_3_1_1):
        older = mqtt.subscriber(topic, qos=2)
        older.publish(topic, b"1", qos=2, retain=True)
        assert [(got.payload, got.qos, got.retain) for got in older.publications()] == [(b"1", 2, False)]
    got = wire.publication()
    assert (got.payload, got.qos, got.retain, got.properties) == (b"1", 1, True, ((Name.SUBSCRIPTION_IDENTIFIER, 5),))
    assert wire.level == LEVEL_5
    wire.send(publish(topic, b"", retain=True))
    wire.settle()
