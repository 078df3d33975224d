"""QoS 1, at least once (4.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, publish
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION


def test_sender(mqtt: Clients) -> None:
    """A new message goes out with a packet id of its own, QoS 1 and without DUP (4.3.2-1; MQTT 5: 4.3.2-1, 4.3.2-2)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1)
    for payload in (b"1", b"2", b"1"):
        mqtt.send(topic, payload, qos=1)
    got = wire.publications()
    assert [(message.payload, message.qos, message.dup) for message in got] == [
        (b"1", 1, False),
        (b"2", 1, False),
        (b"1", 1, False),
    ]
    assert len({message.number for message in got}) == 3


def test_unacknowledged(mqtt: Clients) -> None:
    """What has no PUBACK yet is sent again, with its packet id; what has one, never (2.3.1-4, 4.3.2-1, 4.4.0-1).

    MQTT 5: 4.3.2-3, 4.4.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    for number in range(6):
        wire.publish(topic, bytes([number]), qos=1)
    left = wire.publications()
    while left:
        done = left.pop(len(left) // 2)
        wire.acknowledge(done)
        wire.drop()
        wire = mqtt.connect(name, clean=False)
        again = wire.publications()
        assert [(got.number, got.payload) for got in again] == [(got.number, got.payload) for got in left]
        assert all(got.dup for got in again)


def test_not_again_on_one_connection(mqtt: Clients) -> None:
    """Within a connection nothing is sent twice, however long it waits for its PUBACK (4.4; MQTT 5: 4.4.0-1)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1)
    wire.publish(topic, b"1", qos=1)
    held = wire.publication()
    wire.publish(topic, b"2", qos=1)
    wire.acknowledge(wire.publication())
    assert not wire.is_closed_by_broker(0.5)
    assert wire.publications() == []
    wire.acknowledge(held)


def test_late_puback(mqtt: Clients) -> None:
    """A PUBACK for what an earlier connection was sent counts, as the packet id is the same (4.4.0-1).

    MQTT 5: 4.4.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    mqtt.send(topic, qos=1)
    number = wire.publication().number
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.send(acknowledgement(Kind.PUBACK, number))
    wire.settle()
    wire.drop()
    assert mqtt.connect(name, clean=False).publications() == []


@pytest.mark.parametrize("dup", [False, True])
def test_receiver(mqtt: Clients, *, dup: bool) -> None:
    """After a PUBACK the same packet id is a new message, whatever its DUP flag says (4.3.2-2).

    MQTT 5: 4.3.2-4, 4.3.2-5.
    """
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=1), mqtt.connect()
    for payload in (b"1", b"1", b"2"):
        wire.send(publish(topic, payload, qos=1, number=9, dup=dup))
        assert number_of(wire.receive(Kind.PUBACK)) == 9
    assert witness.payloads() == [b"1", b"1", b"2"]


@pytest.mark.parametrize("clean", [True, False])
def test_receiver_after_a_reconnect(mqtt: Clients, *, clean: bool) -> None:
    """What a client sends again after a lost PUBACK is taken and acknowledged (4.3.2-2; MQTT 5: 4.3.2-4)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    witness, wire = mqtt.subscriber(topic, qos=1), mqtt.connect(name, clean=clean)
    wire.send(publish(topic, b"1", qos=1, number=9))
    wire.receive(Kind.PUBACK)
    wire.drop()
    wire = mqtt.connect(name, clean=clean)
    wire.send(publish(topic, b"1", qos=1, number=9, dup=True))
    assert number_of(wire.receive(Kind.PUBACK)) == 9
    assert set(witness.payloads()) == {b"1"}


def test_many_under_way(mqtt: Clients) -> None:
    """A subscriber that acknowledges late, in any order, gets every message once (4.3.2-1; MQTT 5: 4.3.2-1)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=1), mqtt.connect()
    expected = [number.to_bytes(2, "big") for number in range(200)]
    for payload in expected:
        publisher.publish(topic, payload, qos=1)
    seen: list[bytes] = []
    while len(seen) < len(expected):
        got = wire.publications()
        assert got, "nothing more came"
        seen += [message.payload for message in got]
        for message in reversed(got):
            wire.acknowledge(message)
    assert seen == expected
