"""QoS 2, exactly once (4.3.3): the server as sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION


def test_sender(mqtt: Clients) -> None:
    """PUBLISH without DUP, PUBREL for PUBREC with the same packet id, and after PUBCOMP nothing (4.3.3-1).

    MQTT 5: 4.3.3-1, 4.3.3-2, 4.3.3-4.
    """
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2)
    wire.publish(topic, b"1", qos=2)
    got = wire.publication()
    assert (got.payload, got.qos, got.dup, got.number > 0) == (b"1", 2, False, True)
    wire.settle()
    assert not wire.inbox, "released before its PUBREC"
    wire.send(acknowledgement(Kind.PUBREC, got.number))
    released = wire.receive(Kind.PUBREL)
    assert (released.flags, number_of(released)) == (2, got.number)
    wire.send(acknowledgement(Kind.PUBCOMP, got.number))
    wire.settle()
    assert not wire.inbox


@pytest.mark.parametrize("how", ["drop", "disconnect", "take_over"])
def test_reconnect_before_pubrec(mqtt: Clients, how: str) -> None:
    """Without PUBREC the PUBLISH is sent again, with DUP and the same packet id, until there is one (4.4.0-1).

    MQTT 5: 4.3.3-3, 4.4.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.publish(topic, b"1", qos=2)
    first = wire.publication()
    for _ in range(2):
        if how != "take_over":
            wire.drop() if how == "drop" else wire.disconnect()
        wire = mqtt.connect(name, clean=False)
        again = wire.publications()
        assert [(got.number, got.payload, got.dup) for got in again] == [(first.number, b"1", True)]
    wire.acknowledge(first)
    wire.settle()
    wire.drop()
    assert mqtt.connect(name, clean=False).publications() == []


@pytest.mark.parametrize("how", ["drop", "disconnect", "take_over"])
def test_reconnect_after_pubrec(mqtt: Clients, how: str) -> None:
    """After PUBREC it is the PUBREL that is sent again, and never the PUBLISH, until PUBCOMP (4.3.3-1, 4.4.0-1).

    MQTT 5: 4.3.3-5, 4.3.3-6, 4.4.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.publish(topic, b"1", qos=2)
    number = wire.publication().number
    wire.send(acknowledgement(Kind.PUBREC, number))
    wire.receive(Kind.PUBREL)
    for _ in range(2):
        if how != "take_over":
            wire.drop() if how == "drop" else wire.disconnect()
        wire = mqtt.connect(name, clean=False)
        wire.settle()
        assert [(got.kind, number_of(got)) for got in wire.inbox] == [(Kind.PUBREL, number)]
        wire.inbox.clear()
    wire.send(acknowledgement(Kind.PUBCOMP, number))
    wire.settle()
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.settle()
    assert not wire.inbox


def test_pubrec_again(mqtt: Clients) -> None:
    """A PUBREC is answered with PUBREL every time, also one that was lost on the connection before (4.3.3-1).

    MQTT 5: 4.3.3-4.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.publish(topic, b"1", qos=2)
    number = wire.publication().number
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    assert wire.publication().dup
    for _ in range(2):
        wire.send(acknowledgement(Kind.PUBREC, number))
        assert number_of(wire.receive(Kind.PUBREL)) == number
    wire.send(acknowledgement(Kind.PUBCOMP, number))
    assert wire.publications() == []


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBCOMP])
def test_wrong_answer(mqtt: Clients, kind: Kind) -> None:
    """A PUBACK, or a PUBCOMP before its time, doesn't end a QoS 2 handshake: the message comes again (4.3.3-1).

    MQTT 5: 4.3.3-3, 4.3.3-5.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.publish(topic, b"1", qos=2)
    number = wire.publication().number
    wire.send(acknowledgement(kind, number))
    assert wire.is_closed_for(0x82)
    again = mqtt.connect(name, clean=False).publication()
    assert (again.number, again.payload, again.dup) == (number, b"1", True)


def test_pubrec_of_qos_1(mqtt: Clients) -> None:
    """Nor does a PUBREC acknowledge a QoS 1 message (4.3.2-1; MQTT 5: 4.3.2-3)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    wire.publish(topic, b"1", qos=1)
    number = wire.publication().number
    wire.send(acknowledgement(Kind.PUBREC, number))
    assert wire.is_closed_for(0x82)
    again = mqtt.connect(name, clean=False).publication()
    assert (again.number, again.payload, again.dup) == (number, b"1", True)


def test_every_stage_at_once(mqtt: Clients) -> None:
    """Messages in every stage of their handshakes all go on after a reconnect, each where it was (4.4.0-1).

    MQTT 5: 4.3.3-6, 4.4.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    for number in range(9):
        wire.publish(topic, bytes([number]), qos=2 if number % 3 else 1)
    got = wire.publications()
    for message in got[:3]:
        wire.acknowledge(message)
    wire.send(acknowledgement(Kind.PUBREC, got[4].number), acknowledgement(Kind.PUBREC, got[7].number))
    for _ in range(2):
        wire.receive(Kind.PUBREL)
    wire.drop()
    mqtt.send(topic, b"new", qos=2)
    wire = mqtt.connect(name, clean=False)
    released = [number_of(wire.receive(Kind.PUBREL)) for _ in range(2)]
    assert released == [got[4].number, got[7].number]
    again = wire.publications()
    assert not wire.inbox
    sent = [got[3], got[5], got[6], got[8]]
    assert [(m.number, m.payload, m.qos, m.dup) for m in again[:-1]] == [
        (m.number, m.payload, m.qos, True) for m in sent
    ]
    assert (again[-1].payload, again[-1].dup) == (b"new", False)
    assert again[-1].number not in {message.number for message in got[3:]}
    for number in released:
        wire.send(acknowledgement(Kind.PUBCOMP, number))
    for message in again:
        wire.acknowledge(message)
    wire.settle()
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.settle()
    assert not wire.inbox
