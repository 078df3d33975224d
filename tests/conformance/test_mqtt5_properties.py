"""Properties of MQTT 5 (2.2.2): where each may be, how often, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Will, acknowledgement, packet, publish, subscribe, text, unsubscribe
from tests.support.properties import BINARY, TEXTS, Name, as_properties, prop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

MALFORMED, PROTOCOL_ERROR, QUOTA_EXCEEDED = 0x81, 0x82, 0x97
MOST_USERS, MOST_BYTES = 64, 16 * 1024
"""The bounds of `[mqtt] max_user_properties` and `max_property_bytes`."""
USER = prop(Name.USER_PROPERTY, ("k", "v"))
SENT: dict[str, Callable[[bytes], bytes]] = {
    "publish": lambda properties: publish("a", qos=1, properties=properties),
    "subscribe": lambda properties: subscribe(1, ("a", 0), properties=properties),
    "unsubscribe": lambda properties: unsubscribe(1, "a", properties=properties),
    "puback": lambda properties: acknowledgement(Kind.PUBACK, 1, 0, properties),
    "pubrec": lambda properties: acknowledgement(Kind.PUBREC, 1, 0, properties),
    "pubrel": lambda properties: acknowledgement(Kind.PUBREL, 1, 0, properties),
    "pubcomp": lambda properties: acknowledgement(Kind.PUBCOMP, 1, 0, properties),
    "disconnect": lambda properties: packet(Kind.DISCONNECT, 0, b"\0" + as_properties(properties)),
}
PASSED_ON = {1, 2, 3, 8, 9, 38}
ALLOWED: dict[str, set[int]] = {
    "publish": PASSED_ON | {11, 35},
    "subscribe": {11, 38},
    "unsubscribe": {38},
    "puback": {31, 38},
    "pubrec": {31, 38},
    "pubrel": {31, 38},
    "pubcomp": {31, 38},
    "disconnect": {17, 28, 31, 38},
    "connect": {17, 21, 22, 23, 25, 33, 34, 38, 39},
    "will": PASSED_ON | {24},
}
"""Table 2-4."""
OTHERS = [0, 4, 5, 6, 7, 10, 12, 16, 20, 27, 29, 30, 32, 43, 127, 128, 16_384]
"""Identifiers that no property has."""


def _prop(name: int) -> bytes:
    """Return a property with a value that it can have; one without a meaning has a byte."""
    if name == Name.USER_PROPERTY:
        return USER
    if name in OTHERS:
        return prop(name, 1)
    return prop(name, b"x" if name in BINARY else "x" if name in TEXTS else 1)


def test_no_properties_of_the_server(mqtt: Clients) -> None:
    """Where there are none, their length is there and says so (2.2.2-1)."""
    topic = mqtt.topic("x")
    wire = mqtt.connect()
    wire.send(subscribe(5, (topic, 1)))
    assert wire.receive(Kind.SUBACK).body == b"\0\x05" + b"\0" + b"\x01"
    for qos in 0, 1:
        wire.publish(topic, b"payload", qos=qos)
        number = b"\0\x01" if qos else b""
        assert wire.receive(Kind.PUBLISH).body == text(topic) + number + b"\0payload"
    wire.send(unsubscribe(6, topic))
    assert wire.receive(Kind.UNSUBACK).body == b"\0\x06" + b"\0" + b"\0"


@pytest.mark.parametrize(
    "sent",
    [
        packet(Kind.PUBLISH, 0, text("a")),
        packet(Kind.PUBLISH, 2, text("a") + b"\0\x01"),
        packet(Kind.SUBSCRIBE, 2, b"\0\x01"),
        packet(Kind.UNSUBSCRIBE, 2, b"\0\x01"),
    ],
    ids=["publish", "publish_qos_1", "subscribe", "unsubscribe"],
)
def test_no_length_of_properties(mqtt: Clients, sent: bytes) -> None:
    """A packet that ends where this length must be is malformed (2.2.2-1)."""
    wire = mqtt.connect()
    wire.send(sent)
    assert wire.is_closed_for(MALFORMED)


@pytest.mark.parametrize("kind", SENT)
def test_property_of_another_packet(mqtt: Clients, kind: str) -> None:
    """A property that isn't for this packet, or that there isn't, is malformed (2.2.2.2)."""
    for name in {*Name, *OTHERS} - ALLOWED[kind]:
        wire = mqtt.connect()
        wire.send(SENT[kind](_prop(name)))
        assert wire.is_closed_for(MALFORMED), name


@pytest.mark.parametrize("kind", ["connect", "will"])
def test_property_of_another_packet_in_connect(mqtt: Clients, kind: str) -> None:
    """The same in CONNECT and in a will: closed without a CONNACK (2.2.2.2, 3.1.4-1)."""
    for name in {*Name, *OTHERS} - ALLOWED[kind]:
        assert mqtt.open().log_in(_hello(mqtt, kind, _prop(name))) is None, name


@pytest.mark.parametrize("kind", SENT)
def test_property_twice(mqtt: Clients, kind: str) -> None:
    """A property that is there twice is a protocol error, except for user properties (2.2.2.2)."""
    for name in ALLOWED[kind] - {Name.USER_PROPERTY}:
        wire = mqtt.connect()
        wire.send(SENT[kind](_prop(name) * 2))
        assert wire.is_closed_for(PROTOCOL_ERROR), name


@pytest.mark.parametrize("kind", ["connect", "will"])
def test_property_twice_in_connect(mqtt: Clients, kind: str) -> None:
    """The same in CONNECT and in a will: closed without a CONNACK (2.2.2.2, 3.1.4-1)."""
    for name in ALLOWED[kind] - {Name.USER_PROPERTY}:
        assert mqtt.open().log_in(_hello(mqtt, kind, _prop(name) * 2)) is None, name


@pytest.mark.parametrize("kind", SENT)
def test_property_over_its_end(mqtt: Clients, kind: str) -> None:
    """A property that goes on after the end of the properties, or of the packet, is malformed (2.2.2.1)."""
    wire = mqtt.connect()
    wire.send(SENT[kind](USER[:-1]))
    assert wire.is_closed_for(MALFORMED)
    right = SENT[kind](USER)
    wire = mqtt.connect()
    wire.send(packet(right[0] >> 4, right[0] & 15, right[2 : right.index(USER) + 3]))
    assert wire.is_closed_for(MALFORMED)


@pytest.mark.parametrize("kind", SENT)
def test_user_properties(mqtt: Clients, kind: str) -> None:
    """Each packet may have user properties, up to the bound; one more is refused as too many (2.2.2.2)."""
    wire = mqtt.connect()
    wire.send(SENT[kind](USER * MOST_USERS))
    if kind == "disconnect":
        assert wire.is_closed_by_broker()
    else:
        wire.settle()
    wire = mqtt.connect()
    wire.send(SENT[kind](USER * (MOST_USERS + 1)))
    assert wire.is_closed_for(QUOTA_EXCEEDED)


def test_bytes_of_properties(mqtt: Clients) -> None:
    """Properties that are longer than the bound are refused as too many, and nobody gets them (2.2.2.1)."""
    wire = mqtt.subscriber(mqtt.topic("x"))
    most = prop(Name.CORRELATION_DATA, bytes(MOST_BYTES - 3))
    wire.publish(mqtt.topic("x"), properties=most)
    assert len(wire.publications()) == 1
    wire.send(publish(mqtt.topic("x"), properties=prop(Name.CORRELATION_DATA, bytes(MOST_BYTES - 2))))
    assert wire.is_closed_for(QUOTA_EXCEEDED)


def test_order_of_properties(mqtt: Clients) -> None:
    """Properties may come in any order, and unknown reason codes with them do no harm (2.2.2.2)."""
    wire = mqtt.subscriber(mqtt.topic("x"))
    every = [_prop(name) for name in sorted(PASSED_ON)]
    for properties in every, every[::-1]:
        wire.publish(mqtt.topic("x"), properties=b"".join(properties))
        assert {name for name, _ in wire.publication().properties} == PASSED_ON


def _hello(mqtt: Clients, kind: str, properties: bytes) -> bytes:
    if kind == "connect":
        return mqtt.hello(mqtt.name(), properties=properties)
    return mqtt.hello(mqtt.name(), will=Will(mqtt.topic("will"), properties=properties))
