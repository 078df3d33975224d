"""PUBLISH (3.3), except for the retain flag."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Packet, acknowledgement, packet, publish, text
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients


MALFORMED = 0x81
ANSWERS = {0: None, 1: Kind.PUBACK, 2: Kind.PUBREC}


@EACH_VERSION
@pytest.mark.parametrize(("qos", "dup"), [(0, False), (1, False), (1, True), (2, False), (2, True)])
def test_answer(mqtt: Clients, qos: int, *, dup: bool) -> None:
    """QoS 0 is not answered, QoS 1 with one PUBACK, QoS 2 with one PUBREC (3.3.4-1).

    MQTT 5: 3.3.4-1.
    """
    wire = mqtt.connect()
    wire.send(publish(mqtt.topic("x"), qos=qos, number=3, dup=dup))
    wire.settle()
    answer = ANSWERS[qos]
    assert list(wire.inbox) == ([] if answer is None else [Packet(answer, 0, b"\x00\x03")])


@EACH_VERSION
@pytest.mark.parametrize("flags", [0x06, 0x07, 0x0E, 0x0F])
def test_both_qos_bits(mqtt: Clients, flags: int) -> None:
    """QoS 3 closes the connection and reaches nobody (3.3.1-4).

    MQTT 5: 3.3.1-4.
    """
    witness, wire = mqtt.subscriber(mqtt.topic("#")), mqtt.connect()
    wire.send(packet(Kind.PUBLISH, flags, text(mqtt.topic("x")) + b"\x00\x01\x00x"))
    assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []
    assert mqtt.retained(mqtt.topic("#")) == []


@EACH_VERSION
@pytest.mark.parametrize("retain", [False, True])
def test_dup_at_qos_0(mqtt: Clients, *, retain: bool) -> None:
    """DUP and QoS 0 contradict each other: closed, and nobody gets it (3.3.1-2).

    MQTT 5: 3.3.1-2.
    """
    witness, wire = mqtt.subscriber(mqtt.topic("#")), mqtt.connect()
    wire.send(publish(mqtt.topic("x"), dup=True, retain=retain))
    assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []
    assert mqtt.retained(mqtt.topic("#")) == []


@EACH_VERSION
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_not_passed_on(mqtt: Clients, qos: int) -> None:
    """The DUP that comes in says nothing about the one that goes out: first deliveries have none (3.3.1-3, 3.3.1-2).

    MQTT 5: 3.3.1-2, 3.3.1-3.
    """
    topic = mqtt.topic("x")
    witnesses = [mqtt.subscriber(topic, qos=granted) for granted in range(3)]
    wire = mqtt.connect()
    wire.send(publish(topic, qos=qos, number=3, dup=True))
    wire.receive(ANSWERS[qos] or Kind.PUBACK)
    got = [witness.publication() for witness in witnesses]
    assert [(message.qos, message.dup) for message in got] == [(min(qos, granted), False) for granted in range(3)]


@EACH_VERSION
@pytest.mark.parametrize("how", ["drop", "take_over"])
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_of_a_redelivery(mqtt: Clients, qos: int, how: str) -> None:
    """A PUBLISH that is sent again has DUP, every time; one that is sent for the first time has not (3.3.1-1).

    MQTT 5: 3.3.1-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=qos, client_id=name, clean=False)
    mqtt.send(topic, b"sent", qos=qos)
    first = wire.publication()
    assert not first.dup
    for _ in range(2):
        if how == "drop":
            wire.drop()
            mqtt.send(topic, b"waited", qos=qos)
        wire = mqtt.connect(name, clean=False)
        again, *waited = wire.publications()
        assert again == dataclasses.replace(first, dup=True)
        assert [(got.payload, got.dup) for got in waited] == ([(b"waited", False)] if how == "drop" else [])
        for got in waited:
            wire.acknowledge(got)


@EACH_VERSION
@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "a/+/b", "a+", "a#b", "+a/b"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_wildcard_in_a_topic(mqtt: Clients, topic: str, qos: int) -> None:
    """A topic with a wildcard closes the connection and reaches nobody (3.3.2-2, 4.7.1-1).

    MQTT 5: 3.3.2-2, 4.7.0-1.
    """
    witness, wire = mqtt.witness(), mqtt.connect()
    wire.send(publish(topic, qos=qos, retain=True))
    assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []
    assert mqtt.retained("#") == []


def test_topic_is_the_first_field(mqtt: Clients) -> None:
    """The topic comes first and is sent on byte by byte, in the first field of the variable header (3.3.2-1)."""
    topic = mqtt.topic("caf\u00e9/\U0001f600/ x ")
    wire = mqtt.subscriber(topic, qos=1)
    wire.send(packet(Kind.PUBLISH, 2, text(topic) + b"\x00\x05payload"))
    got = wire.receive(Kind.PUBLISH)
    assert got.body[: len(text(topic))] == text(topic)
    assert got.body[len(text(topic)) + 2 :] == b"payload"


@EACH_VERSION
def test_topic_matches_the_filter(mqtt: Clients) -> None:
    """What a subscriber gets has the name that it was published to, and that matches its filter (3.3.2-3).

    MQTT 5: 3.3.2-3.
    """
    wire = mqtt.subscriber(mqtt.topic("a/+/c"), mqtt.topic("d/#"))
    names = ["a/b/c", "a//c", "a/b/d", "a/b/c/d", "d", "d/e", "d/e/f/", "e", "a/b/", "/a/b/c"]
    publisher = mqtt.connect()
    for name in names:
        publisher.publish(mqtt.topic(name), qos=1)
    assert [got.topic for got in wire.publications()] == [mqtt.topic(name) for name in (*names[:2], *names[4:7])]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_refused_topic(mqtt: Clients, qos: int) -> None:
    """What may not be published is acknowledged as usual and reaches nobody (3.3.5-2)."""
    device, other = mqtt.fleet.device(), mqtt.fleet.device()
    witness = mqtt.subscriber("#", qos=2)
    wire = mqtt.connect(device.client_id, key=device)
    wire.publish(other.topic("x"), qos=qos, retain=True)
    wire.publish(mqtt.topic("x"), qos=qos, retain=True)
    wire.publish("$SYS/x", qos=qos, retain=True)
    wire.publish(device.topic("x"), b"own", qos=qos)
    assert witness.delivery().topic == device.topic("x")
    assert witness.publications() == []
    assert mqtt.retained("#") == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_own_message(mqtt: Clients, qos: int) -> None:
    """MQTT has no way to leave one's own messages out: a publisher that subscribed gets them (3.3.5)."""
    wire = mqtt.subscriber(mqtt.topic("x"), qos=qos)
    wire.publish(mqtt.topic("x"), b"own", qos=qos)
    assert wire.delivery().payload == b"own"


def test_empty_message(mqtt: Clients) -> None:
    """A payload may be empty (3.3.3)."""
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1)
    for qos in (0, 1):
        wire.publish(mqtt.topic("x"), b"", qos=qos)
        assert wire.delivery().payload == b""


def test_nothing_without_a_subscription(mqtt: Clients) -> None:
    """QoS 0 messages go to whoever subscribed at that moment, once, with QoS 0 and without DUP (4.3.1-1)."""
    wire, other = mqtt.subscriber(mqtt.topic("x")), mqtt.subscriber(mqtt.topic("y"))
    mqtt.send(mqtt.topic("x"), b"1")
    got = wire.receive(Kind.PUBLISH)
    assert (got.flags, got.body) == (0, text(mqtt.topic("x")) + b"1")
    wire.send(acknowledgement(Kind.PUBACK, 1))
    assert wire.publications() == other.publications() == []
