"""UNSUBSCRIBE and UNSUBACK (3.10, 3.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, codes_of, number_of, packet, unsubscribe
from tests.support.versions import EACH_VERSION, LEVEL_5

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION


def test_unsuback(mqtt: Clients) -> None:
    """An UNSUBSCRIBE is answered with one UNSUBACK of the same packet id (3.10.4-4; MQTT 5: 3.10.4-4)."""
    wire = mqtt.subscriber(mqtt.topic("x"))
    wire.send(unsubscribe(0xABCD, mqtt.topic("x")))
    got = wire.read()
    assert got is not None
    assert (got.kind, got.flags, number_of(got)) == (Kind.UNSUBACK, 0, 0xABCD)
    wire.settle()
    assert not wire.inbox


def test_nothing_to_unsubscribe(mqtt: Clients) -> None:
    """It is answered also where nothing was subscribed, and as often as it comes (3.10.4-5; MQTT 5: 3.10.4-5)."""
    wire = mqtt.connect()
    for _ in range(2):
        wire.unsubscribe(mqtt.topic("x"), "#", "+/+", "$SYS/#")
    wire.settle()
    assert not wire.inbox


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_new_messages(mqtt: Clients, qos: int) -> None:
    """After UNSUBACK no message is added for the client, connected or away (3.10.4-2; MQTT 5: 3.10.4-2)."""
    name, publisher = mqtt.name(), mqtt.connect()
    wire = mqtt.subscriber(mqtt.topic("x"), mqtt.topic("y"), qos=qos, client_id=name, clean=False)
    wire.unsubscribe(mqtt.topic("x"))
    for rest in ("x", "y"):
        publisher.publish(mqtt.topic(rest), rest.encode(), qos=2)
    assert wire.delivery().payload == b"y"
    assert wire.publications() == []
    wire.disconnect()
    publisher.publish(mqtt.topic("x"), b"x", qos=2)
    assert mqtt.connect(name, clean=False).publications() == []


@pytest.mark.parametrize("qos", [1, 2])
def test_messages_under_way(mqtt: Clients, qos: int) -> None:
    """What the server has begun to send, it goes on with after UNSUBACK, also on the next connection (3.10.4-3).

    MQTT 5: 3.10.4-3.
    """
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=qos, client_id=name, clean=False)
    for payload in (b"1", b"2"):
        wire.publish(topic, payload, qos=qos)
    first, second = wire.publications()
    wire.unsubscribe(topic)
    wire.acknowledge(first)
    wire.settle()
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    again = wire.delivery()
    assert (again.number, again.payload, again.dup) == (second.number, b"2", True)
    assert wire.publications() == []
    wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    wire.settle()
    assert not wire.inbox


def test_pubrel_under_way(mqtt: Clients) -> None:
    """The same for a QoS 2 message of which only PUBCOMP is missing (3.10.4-3; MQTT 5: 3.10.4-3)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.publish(topic, qos=2)
    number = wire.publication().number
    wire.send(acknowledgement(Kind.PUBREC, number))
    wire.receive(Kind.PUBREL)
    wire.unsubscribe(topic)
    wire.drop()
    assert number_of(mqtt.connect(name, clean=False).receive(Kind.PUBREL)) == number


FILTERS = ["a/b", "a/+", "a/#", "+/b", "#", "a", "a/", "A/b", "a/b/", "\u00e9", "e\u0301", "\ufeffa/b"]


@pytest.mark.parametrize("removed", FILTERS)
def test_exact_filter(mqtt: Clients, removed: str) -> None:
    """The subscription with exactly that filter goes, byte by byte the same, and no other (3.10.4-1).

    MQTT 5: 3.10.4-1.
    """
    wire = mqtt.subscriber(*(mqtt.topic(rest) for rest in FILTERS))
    wire.unsubscribe(mqtt.topic(removed))
    for rest in FILTERS:
        wire.unsubscribe(*(mqtt.topic(other) for other in FILTERS if other != rest))
        topic = mqtt.topic(rest.replace("+", "a").replace("#", "a/c") if rest != "+/b" else "x/b")
        wire.publish(topic, b"1")
        assert len(wire.publications()) == (rest != removed), rest
        wire.subscribe(*(mqtt.topic(other) for other in FILTERS if other != removed))


def test_wildcard_removes_nothing_else(mqtt: Clients) -> None:
    """A wildcard in UNSUBSCRIBE isn't matched against subscriptions (3.10.4-1; MQTT 5: 3.10.4-1)."""
    wire = mqtt.subscriber(mqtt.topic("a/b"), mqtt.topic("a/c"))
    wire.unsubscribe(mqtt.topic("#"), mqtt.topic("a/+"), "#")
    for rest in ("a/b", "a/c"):
        wire.publish(mqtt.topic(rest))
    assert len(wire.publications()) == 2


def test_one_of_overlapping(mqtt: Clients) -> None:
    """Others that match the same topic stay, with their own QoS (3.10.4-1; MQTT 5: 3.10.4-1)."""
    wire = mqtt.connect()
    for rest, qos in (("x", 2), ("+", 1), ("#", 0)):
        wire.subscribe(mqtt.topic(rest), qos=qos)
    for rest, qos in (("x", 1), ("+", 0)):
        wire.unsubscribe(mqtt.topic(rest))
        wire.publish(mqtt.topic("x"), b"1", qos=2)
        assert [got.qos for got in wire.publications()] == [qos]
    wire.unsubscribe(mqtt.topic("#"))
    wire.publish(mqtt.topic("x"), b"1", qos=2)
    assert wire.publications() == []


def test_many_filters(mqtt: Clients, each_version: int) -> None:
    """Many filters in one packet do what as many packets would, with one UNSUBACK (3.10.4-6).

    MQTT 5: 3.10.4-6, 3.11.3-1.
    """
    names = ["a", "b", "c", "d"]
    wire = mqtt.subscriber(*map(mqtt.topic, names))
    wire.send(unsubscribe(9, *map(mqtt.topic, ["a", "x", "c", "a"])))
    got = wire.receive(Kind.UNSUBACK)
    assert (number_of(got), codes_of(got)) == (9, [0, 0x11, 0, 0x11] if each_version == LEVEL_5 else [])
    for rest in names:
        wire.publish(mqtt.topic(rest), rest.encode())
    assert wire.payloads() == [b"b", b"d"]
    assert not wire.inbox


def test_unsubscribed_for_good(mqtt: Clients) -> None:
    """The session doesn't come back with it (3.10.4-1, 4.1.0-1; MQTT 5: 3.10.4-1)."""
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    wire.unsubscribe(mqtt.topic("x"))
    wire.disconnect()
    mqtt.send(mqtt.topic("x"), qos=1)
    wire = mqtt.connect(name, clean=False)
    wire.publish(mqtt.topic("x"), qos=1)
    assert wire.publications() == []


def test_no_filter(mqtt: Clients) -> None:
    """An UNSUBSCRIBE without a filter is a violation (3.10.3-2; MQTT 5: 3.10.3-2)."""
    wire = mqtt.connect()
    wire.send(unsubscribe(1))
    assert wire.is_closed_for(0x82)


@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0x6, 0xA, 0xF])
def test_reserved_flags(mqtt: Clients, flags: int) -> None:
    """Flags other than 0010 close the connection, and the subscription stays (3.10.1-1; MQTT 5: 3.10.1-1)."""
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    wire.send(packet(Kind.UNSUBSCRIBE, flags, unsubscribe(1, mqtt.topic("x"))[2:]))
    assert wire.is_closed_for(0x81)
    mqtt.send(mqtt.topic("x"), b"1", qos=1)
    assert mqtt.connect(name, clean=False).payloads() == [b"1"]


@pytest.mark.parametrize("payload", [b"\0", b"\0\x05abc", b"\0\x01a\0\x01", b"\0\x01\xff", b"\0\x01\0"])
def test_filters_packed_contiguously(mqtt: Clients, payload: bytes) -> None:
    """The payload is nothing but length-prefixed strings of UTF-8, one after the other (3.10.3-1; MQTT 5: 3.10.3-1)."""
    wire = mqtt.connect()
    wire.send(packet(Kind.UNSUBSCRIBE, 2, unsubscribe(1)[2:] + payload))
    assert wire.is_closed_for(0x81)


@pytest.mark.parametrize("body", [b"\0", b""])
def test_no_number(mqtt: Clients, body: bytes) -> None:
    """A packet that ends within its packet id is a violation (3.10.3-1)."""
    wire = mqtt.connect()
    wire.send(packet(Kind.UNSUBSCRIBE, 2, body))
    assert wire.is_closed_for(0x81)
