"""QoS 2, exactly once (4.3.3): the server as receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, publish
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION


def _publish(wire: Wire, topic: str, payload: bytes, number: int, *, dup: bool = False) -> None:
    wire.send(publish(topic, payload, qos=2, number=number, dup=dup))
    assert number_of(wire.receive(Kind.PUBREC)) == number


def _release(wire: Wire, number: int) -> None:
    wire.send(acknowledgement(Kind.PUBREL, number))
    assert number_of(wire.receive(Kind.PUBCOMP)) == number


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_once(mqtt: Clients, granted: int) -> None:
    """PUBREC, PUBCOMP, and every subscriber has it once (4.3.3-2; MQTT 5: 4.3.3-8, 4.3.3-11, 4.5.0-1)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=granted), mqtt.connect()
    _publish(wire, topic, b"1", 5)
    _release(wire, 5)
    assert witness.payloads() == [b"1"]


@pytest.mark.parametrize("dup", [False, True])
def test_again_before_pubrel(mqtt: Clients, *, dup: bool) -> None:
    """Until PUBREL the same packet id is the same message: PUBREC again, delivered once, DUP or not (4.3.3-2).

    MQTT 5: 4.3.3-10.
    """
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect()
    for _ in range(3):
        _publish(wire, topic, b"1", 5, dup=dup)
    _release(wire, 5)
    assert witness.payloads() == [b"1"]


@pytest.mark.parametrize("how", ["drop", "disconnect", "take_over"])
def test_again_after_a_reconnect(mqtt: Clients, how: str) -> None:
    """The session remembers the packet id: sent again by the next connection it is still no new message (4.3.3-2).

    MQTT 5: 4.3.3-10.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect(name, clean=False)
    _publish(wire, topic, b"1", 5)
    for _ in range(2):
        if how != "take_over":
            wire.drop() if how == "drop" else wire.disconnect()
        wire = mqtt.connect(name, clean=False)
        _publish(wire, topic, b"1", 5, dup=True)
    _release(wire, 5)
    _publish(wire, topic, b"2", 5)
    _release(wire, 5)
    assert witness.payloads() == [b"1", b"2"]


def test_again_in_a_clean_session(mqtt: Clients) -> None:
    """A clean session knows nothing of the one before: the same packet id is a new message (3.1.2-6)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect(name)
    _publish(wire, topic, b"1", 5)
    wire.drop()
    wire = mqtt.connect(name)
    _publish(wire, topic, b"2", 5)
    assert witness.payloads() == [b"1", b"2"]


@pytest.mark.parametrize("dup", [False, True])
def test_after_pubcomp(mqtt: Clients, *, dup: bool) -> None:
    """After PUBCOMP the packet id means a new message (4.3.3-2; MQTT 5: 4.3.3-12)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect()
    for payload in (b"1", b"1", b"2"):
        _publish(wire, topic, payload, 5, dup=dup)
        _release(wire, 5)
    assert witness.payloads() == [b"1", b"1", b"2"]


def test_pubrel_again(mqtt: Clients) -> None:
    """A PUBREL is answered every time, also on the next connection and for a packet id that isn't known (4.3.3-2).

    MQTT 5: 4.3.3-11.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect(name, clean=False)
    _publish(wire, topic, b"1", 5)
    _release(wire, 5)
    _release(wire, 5)
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    _release(wire, 5)
    _release(wire, 1234)
    assert witness.payloads() == [b"1"]


def test_released_by_the_next_connection(mqtt: Clients) -> None:
    """A handshake may begin on one connection and end on the next (4.4.0-1, 4.3.3-2; MQTT 5: 4.3.3-11, 4.4.0-1)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect(name, clean=False)
    _publish(wire, topic, b"1", 5)
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    _release(wire, 5)
    _publish(wire, topic, b"2", 5)
    assert witness.payloads() == [b"1", b"2"]


def test_many_at_once(mqtt: Clients) -> None:
    """Handshakes may be interleaved and released in any order; each message arrives once (4.3.3-2).

    MQTT 5: 4.3.3-8, 4.3.3-10.
    """
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic), mqtt.connect()
    numbers = list(range(1, 41))
    wire.send(*(publish(topic, bytes([number]), qos=2, number=number) for number in numbers))
    wire.send(*(publish(topic, bytes([number]), qos=2, number=number, dup=True) for number in numbers[::3]))
    answered = [number_of(wire.receive(Kind.PUBREC)) for _ in range(len(numbers) + len(numbers[::3]))]
    assert answered == numbers + numbers[::3]
    for number in [*numbers[::-2], *numbers[::2]]:
        _release(wire, number)
    wire.send(*(publish(topic, bytes([number + 100]), qos=2, number=number) for number in numbers))
    wire.settle()
    assert witness.payloads() == [bytes([number]) for number in numbers] + [bytes([n + 100]) for n in numbers]


def test_same_numbers_of_two_clients(mqtt: Clients) -> None:
    """Packet ids of one client have nothing to do with another's (2.3.1)."""
    topic = mqtt.topic("x")
    witness, wires = mqtt.subscriber(topic, qos=2), [mqtt.connect() for _ in range(3)]
    for wire in wires:
        _publish(wire, topic, b"1", 5)
    for wire in wires:
        _release(wire, 5)
    assert witness.payloads() == [b"1"] * 3


def test_qos_1_with_the_number_of_qos_2(mqtt: Clients) -> None:
    """A QoS 1 message is never taken for a QoS 2 one that waits for PUBREL (4.3.2-2)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect()
    _publish(wire, topic, b"2", 5)
    wire.send(publish(topic, b"1", qos=1, number=5))
    assert number_of(wire.receive(Kind.PUBACK)) == 5
    _publish(wire, topic, b"2", 5, dup=True)
    _release(wire, 5)
    assert witness.payloads() == [b"2", b"1"]
