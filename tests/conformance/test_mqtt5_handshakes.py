"""Handshakes of MQTT 5 (4.3): DUP, message expiry and flow control within them; sessions, requests and responses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, publish, reason_of
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")


def test_pubrel_again_and_the_quota(mqtt: Clients) -> None:
    """PUBRELs that are sent again don't raise the quota above the receive maximum (4.9.0-1, 4.9.0-2)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False, properties=prop(Name.RECEIVE_MAXIMUM, 2))
    wire.subscribe(topic, qos=2)
    for number in range(6):
        mqtt.send(topic, bytes([number]), qos=2)
    for got in wire.publications():
        wire.send(acknowledgement(Kind.PUBREC, got.number))
        wire.receive(Kind.PUBREL)
    wire.drop()
    wire = mqtt.connect(name, clean=False, properties=prop(Name.RECEIVE_MAXIMUM, 2))
    for _ in range(2):
        wire.send(acknowledgement(Kind.PUBCOMP, number_of(wire.receive(Kind.PUBREL))))
    assert wire.payloads() == [b"\2", b"\3"]


def test_expiry_after_sending(mqtt: Clients) -> None:
    """A QoS 2 message that was sent never expires: it is sent again, and completed (4.3.3-7)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False, properties=prop(Name.RECEIVE_MAXIMUM, 2))
    wire.subscribe(topic, qos=2)
    publisher = mqtt.connect()
    for number in range(1, 4):
        sent = publish(topic, bytes([number]), qos=2, number=number, properties=prop(Name.MESSAGE_EXPIRY, 1))
        publisher.ask(sent, Kind.PUBREC)
    first, _ = wire.publications()
    wire.send(acknowledgement(Kind.PUBREC, first.number))
    wire.receive(Kind.PUBREL)
    wire.drop()
    time.sleep(1.1)
    wire = mqtt.connect(name, clean=False)
    assert number_of(wire.receive(Kind.PUBREL)) == first.number
    again = wire.delivery()
    assert (again.payload, again.dup) == (b"\2", True)
    wire.send(acknowledgement(Kind.PUBCOMP, first.number))
    assert wire.publications() == [], "the third was never sent, and has expired"


def test_expiry_before_release(mqtt: Clients) -> None:
    """The server goes on with its part of a handshake, though the message has expired (4.3.3-13)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, qos=2), mqtt.connect()
    sent = publish(topic, b"1", qos=2, number=7, properties=prop(Name.MESSAGE_EXPIRY, 1))
    assert reason_of(wire.ask(sent, Kind.PUBREC)) == 0
    time.sleep(1.1)
    assert reason_of(wire.ask(sent, Kind.PUBREC)) == 0
    assert wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP).body == b"\0\7"
    assert witness.payloads() == [b"1"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_first_sending(mqtt: Clients, qos: int) -> None:
    """A message is first sent without DUP, whatever flag its publisher set, and at QoS 0 never with it (4.3.1-1)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=2), mqtt.connect()
    publisher.send(publish(topic, qos=qos, number=5, dup=qos > 0))
    got = wire.publication()
    assert (got.qos, got.dup, got.number > 0) == (qos, False, qos > 0)


def test_request_and_response(mqtt: Clients) -> None:
    """A responder is sent response topic and correlation data, and the requester its answer (4.5.0-1)."""
    requests, answers = mqtt.topic("requests"), mqtt.topic("answers/7")
    responder = mqtt.subscriber(f"$share/g/{requests}", qos=1)
    requester = mqtt.subscriber(answers, qos=1)
    asked = prop(Name.RESPONSE_TOPIC, answers) + prop(Name.CORRELATION_DATA, b"\x00\xff")
    requester.ask(publish(requests, b"?", qos=1, number=9, properties=asked), Kind.PUBACK)
    got = responder.delivery()
    properties = dict(got.properties)
    assert properties == {Name.RESPONSE_TOPIC: answers, Name.CORRELATION_DATA: b"\x00\xff"}
    topic, data = properties[Name.RESPONSE_TOPIC], properties[Name.CORRELATION_DATA]
    assert isinstance(topic, str)
    assert isinstance(data, bytes)
    responder.ask(publish(topic, b"!", qos=1, properties=prop(Name.CORRELATION_DATA, data)), Kind.PUBACK)
    answer = requester.delivery()
    assert (answer.payload, answer.properties) == (b"!", ((Name.CORRELATION_DATA, b"\x00\xff"),))


def test_state_while_connected(mqtt: Clients) -> None:
    """A session isn't discarded while its connection is open, whatever its expiry (4.1.0-1)."""
    topic = mqtt.topic("x")
    wire = mqtt.connect(properties=prop(Name.SESSION_EXPIRY, 0))
    wire.subscribe(topic, qos=2)
    kept = mqtt.connect(properties=prop(Name.SESSION_EXPIRY, 1))
    kept.subscribe(topic, qos=2)
    wire.send(publish(topic, b"1", qos=2, number=7))
    wire.receive(Kind.PUBREC)
    time.sleep(2.2)
    assert wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP).body == b"\0\7"
    mqtt.send(topic, b"2", qos=2)
    for each in (wire, kept):
        assert [got.payload for got in each.hear(2)] == [b"1", b"2"]
