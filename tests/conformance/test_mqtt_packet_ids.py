"""Packet identifiers (2.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, packet, publish, subscribe, text, unsubscribe
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients


WINDOW = 30
"""Messages that are under way at once; the broker sends at least so many (`mqtt.max_inflight`)."""
ALL_NUMBERS = 65_535
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
WITH_ZERO: dict[str, Callable[[], bytes]] = {
    "subscribe": lambda: subscribe(0, ("a", 0)),
    "unsubscribe": lambda: unsubscribe(0, "a"),
    "publish_qos_1": lambda: publish("a", qos=1, number=0),
    "publish_qos_2": lambda: publish("a", qos=2, number=0),
}
NUMBERS = [1, 255, 256, 0x7FFF, 0x8000, ALL_NUMBERS]


@EACH_VERSION
@pytest.mark.parametrize("sent", WITH_ZERO.values(), ids=WITH_ZERO)
def test_number_zero(mqtt: Clients, sent: Callable[[], bytes]) -> None:
    """0 is no packet id: the connection is closed and nobody gets anything (2.3.1-1).

    MQTT 5: 2.2.1-3.
    """
    witness, wire = mqtt.subscriber("a"), mqtt.connect()
    wire.send(sent())
    assert wire.is_closed_for(MALFORMED, PROTOCOL_ERROR)
    assert witness.publications() == []


@EACH_VERSION
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_answers(mqtt: Clients, number: int) -> None:
    """Every answer has the packet id of what it answers (2.3.1-6, 2.3.1-7).

    MQTT 5: 2.2.1-5, 2.2.1-6.
    """
    topic, wire = mqtt.topic("x"), mqtt.connect()
    wire.send(publish(topic, qos=1, number=number))
    assert wire.receive(Kind.PUBACK).body == number.to_bytes(2, "big")
    wire.send(publish(topic, qos=2, number=number))
    assert wire.receive(Kind.PUBREC).body == number.to_bytes(2, "big")
    wire.send(acknowledgement(Kind.PUBREL, number))
    assert wire.receive(Kind.PUBCOMP).body == number.to_bytes(2, "big")
    wire.send(subscribe(number, (topic, 0)))
    assert number_of(wire.receive(Kind.SUBACK)) == number
    wire.send(unsubscribe(number, topic))
    assert number_of(wire.receive(Kind.UNSUBACK)) == number


@EACH_VERSION
def test_number_of_pubrel(mqtt: Clients) -> None:
    """A PUBREL has the packet id of the PUBLISH that it releases (2.3.1-6).

    MQTT 5: 2.2.1-5.
    """
    wire = mqtt.subscriber(mqtt.topic("x"), qos=2)
    mqtt.send(mqtt.topic("x"), qos=2)
    got = wire.publication()
    wire.send(acknowledgement(Kind.PUBREC, got.number))
    released = wire.receive(Kind.PUBREL)
    assert (released.flags, released.body) == (2, got.number.to_bytes(2, "big"))


@EACH_VERSION
@pytest.mark.parametrize("qos", [1, 2])
def test_numbers_under_way(mqtt: Clients, qos: int) -> None:
    """Messages that wait for their acknowledgement have different packet ids, none of them 0 (2.3.1-1, 2.3.1-4).

    MQTT 5: 2.2.1-4.
    """
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=qos), mqtt.connect()
    for _ in range(WINDOW):
        publisher.publish(topic, qos=qos)
    got = wire.publications()
    assert len(got) == WINDOW
    assert len({message.number for message in got} - {0}) == WINDOW


@EACH_VERSION
def test_number_after_pubrec(mqtt: Clients) -> None:
    """A QoS 2 packet id is in use until PUBCOMP, not only until PUBREC (2.3.1-4).

    MQTT 5: 2.2.1-4.
    """
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=2), mqtt.connect()
    held = []
    for _ in range(WINDOW):
        publisher.publish(topic, qos=2)
        held.append(wire.publication().number)
        wire.send(acknowledgement(Kind.PUBREC, held[-1]))
        wire.receive(Kind.PUBREL)
    assert len(set(held)) == WINDOW


def test_numbers_all_used_once(mqtt: Clients) -> None:
    """When all 65,535 packet ids have been used, those that still wait for PUBACK or PUBCOMP are left out (2.3.1-4)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2)
    wire.publish(topic, b"held", qos=1)
    wire.publish(topic, b"held", qos=2)
    held = [wire.publication().number for _ in range(2)]
    wire.send(acknowledgement(Kind.PUBREC, held[1]))
    wire.receive(Kind.PUBREL)
    block = publish(topic, qos=1, number=1) * WINDOW
    seen: set[int] = set()
    for _ in range(ALL_NUMBERS // WINDOW + 2):
        wire.send(block)
        numbers = [wire.publication().number for _ in range(WINDOW)]
        assert not {0, *held} & set(numbers)
        assert len(set(numbers)) == WINDOW
        seen.update(numbers)
        wire.send(*(acknowledgement(Kind.PUBACK, number) for number in numbers))
        wire.settle()
        wire.inbox.clear()
    assert len(seen) == ALL_NUMBERS - len(held)


def test_qos_0_has_no_number(mqtt: Clients) -> None:
    """A QoS 0 PUBLISH has no packet id, in either direction: what follows the topic is the payload (2.3.1-5)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2)
    wire.send(publish(topic, b"\x00\x07payload"))
    got = wire.receive(Kind.PUBLISH)
    assert got.flags == 0
    assert got.body == text(topic) + b"\x00\x07payload"
    wire.unsubscribe(topic)
    wire.subscribe(topic, qos=0)
    wire.publish(topic, b"lowered", qos=2)
    assert wire.receive(Kind.PUBLISH).body == text(topic) + b"lowered"


def test_same_number_in_both_directions(mqtt: Clients) -> None:
    """Client and server use packet ids independently (2.3.1): one number can mean a message each way at once."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2)
    mqtt.send(topic, b"theirs", qos=2)
    number = wire.publication().number
    wire.send(publish(topic, b"ours", qos=2, number=number))
    assert number_of(wire.receive(Kind.PUBREC)) == number
    wire.send(acknowledgement(Kind.PUBREC, number))
    assert number_of(wire.receive(Kind.PUBREL)) == number
    wire.send(acknowledgement(Kind.PUBREL, number))
    assert number_of(wire.receive(Kind.PUBCOMP)) == number
    wire.send(acknowledgement(Kind.PUBCOMP, number))
    got = wire.publication()
    assert (got.payload, got.dup) == (b"ours", False)


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBCOMP])
def test_acknowledgement_of_nothing(mqtt: Clients, kind: Kind) -> None:
    """An acknowledgement that comes late, or twice, does no harm."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1)
    wire.send(packet(kind, 0, b"\x12\x34"))
    wire.publish(topic, b"1", qos=1)
    got = wire.delivery()
    wire.send(acknowledgement(Kind.PUBACK, got.number))
    assert wire.publications() == []
