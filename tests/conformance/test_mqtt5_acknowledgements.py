"""PUBACK, PUBREC, PUBREL and PUBCOMP of MQTT 5 (3.4 to 3.7): reason codes, and how long they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, packet, properties_of, publish, reason_of
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.fleet import Credentials
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

NOT_AUTHORIZED = 0x87
ANSWERS = {1: Kind.PUBACK, 2: Kind.PUBREC}
SHORTEST = 5
"""Bytes of an acknowledgement with a reason code and nothing else."""
SMALLEST = 24
"""A maximum packet size with room for a CONNACK, and for no reason string."""
BOTH = prop(Name.REASON_STRING, "why") + prop(Name.USER_PROPERTY, ("a", "b")) + prop(Name.USER_PROPERTY, ("a", "c"))


@pytest.fixture
def device(mqtt: Clients) -> Credentials:
    """Register a device, which has a scope."""
    return mqtt.fleet.device()


def _refused(mqtt: Clients, device: Credentials, qos: int, properties: bytes = b"") -> bytes:
    """Publish outside of the scope, and return the body of the answer."""
    wire = mqtt.connect(device.client_id, key=device, properties=properties)
    return wire.ask(publish("elsewhere", qos=qos, number=7), ANSWERS[qos]).body


@pytest.mark.parametrize("qos", [1, 2])
def test_success_is_short(mqtt: Clients, qos: int) -> None:
    """Success is said by leaving the reason code out, also where nobody listens (3.4.2-1, 3.5.2-1, 3.7.2-1)."""
    wire = mqtt.connect()
    for topic in (mqtt.topic("nobody"), mqtt.topic("somebody")):
        mqtt.subscriber(mqtt.topic("somebody"))
        assert wire.ask(publish(topic, qos=qos, number=7), ANSWERS[qos]).body == b"\x00\x07"
        if qos == 2:
            assert wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP).body == b"\x00\x07"


@pytest.mark.parametrize("qos", [1, 2])
def test_refused_topic(mqtt: Clients, device: Credentials, qos: int) -> None:
    """A message outside of the scope gets 0x87 and goes nowhere; the connection stays (3.4.2-1, 3.5.2-1)."""
    witness = mqtt.witness()
    wire = mqtt.connect(device.client_id, key=device)
    got = wire.ask(publish("elsewhere", qos=qos, number=7), ANSWERS[qos])
    assert (number_of(got), reason_of(got)) == (7, NOT_AUTHORIZED)
    assert properties_of(got) == [(Name.REASON_STRING, "topic outside of the key's scope")]
    wire.publish(device.topic("own"), b"own", qos=qos)
    assert witness.payloads() == [b"own"]


def test_number_after_a_refused_pubrec(mqtt: Clients, device: Credentials) -> None:
    """After a PUBREC that refuses, the packet id means a new message, and there is nothing to release (4.3.3-9)."""
    witness = mqtt.witness()
    wire = mqtt.connect(device.client_id, key=device)
    assert reason_of(wire.ask(publish("elsewhere", qos=2, number=7), Kind.PUBREC)) == NOT_AUTHORIZED
    assert reason_of(wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)) == 0
    for payload in (b"1", b"2"):
        assert reason_of(wire.ask(publish(device.topic("x"), payload, qos=2, number=7), Kind.PUBREC)) == 0
        assert reason_of(wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)) == 0
    assert witness.payloads() == [b"1", b"2"]


def test_unknown_numbers(mqtt: Clients) -> None:
    """A PUBREC or PUBREL of a packet id that isn't known is answered, with success (3.6.2-1, 3.7.2-1).

    The answer to an earlier one may have been lost, so that the client sends it again.
    """
    wire = mqtt.connect()
    for kind, answer in (Kind.PUBREC, Kind.PUBREL), (Kind.PUBREL, Kind.PUBCOMP):
        assert wire.ask(acknowledgement(kind, 1234), answer).body == b"\x04\xd2"
    for kind in (Kind.PUBACK, Kind.PUBCOMP):
        wire.send(acknowledgement(kind, 1234))
    wire.settle()
    assert not wire.inbox


@pytest.mark.parametrize("qos", [1, 2])
def test_longest_answer(mqtt: Clients, device: Credentials, qos: int) -> None:
    """The reason string is left out where the answer would be longer than the client takes (3.4.2-2, 3.5.2-2)."""
    whole = len(_refused(mqtt, device, qos)) + 2
    assert whole > SHORTEST
    for most in (whole, whole - 1, SMALLEST):
        body = _refused(mqtt, device, qos, prop(Name.MAXIMUM_PACKET_SIZE, most))
        assert len(body) + 2 == (whole if most == whole else SHORTEST)
        assert body[:3] == b"\x00\x07\x87"


@pytest.mark.parametrize("most", [SMALLEST, 1024])
def test_longest_pubrel_and_pubcomp(mqtt: Clients, most: int) -> None:
    """PUBREL and PUBCOMP have no reason string and no user property at all (3.6.2-2, 3.6.2-3, 3.7.2-2, 3.7.2-3)."""
    wire = mqtt.connect(properties=prop(Name.MAXIMUM_PACKET_SIZE, most))
    assert wire.ask(acknowledgement(Kind.PUBREC, 9), Kind.PUBREL).body == b"\x00\x09"
    assert wire.ask(acknowledgement(Kind.PUBREL, 9), Kind.PUBCOMP).body == b"\x00\x09"


def test_no_user_properties(mqtt: Clients, device: Credentials) -> None:
    """No acknowledgement has user properties, whatever its message had (3.4.2-3, 3.5.2-3)."""
    wire = mqtt.connect(device.client_id, key=device)
    for qos, answer in ANSWERS.items():
        for topic in (device.topic("x"), "elsewhere"):
            sent = publish(topic, qos=qos, number=qos, properties=prop(Name.USER_PROPERTY, ("a", "b")))
            assert Name.USER_PROPERTY not in dict(properties_of(wire.ask(sent, answer)))
    assert wire.ask(acknowledgement(Kind.PUBREL, 2, 0, BOTH), Kind.PUBCOMP).body == b"\x00\x02"


@pytest.mark.parametrize("qos", [1, 2])
def test_no_problem_information(mqtt: Clients, device: Credentials, qos: int) -> None:
    """A client that asks for no problem information gets the reason code alone (3.4.2-2, 3.5.2-2)."""
    assert _refused(mqtt, device, qos, prop(Name.REQUEST_PROBLEM, 0)) == b"\x00\x07\x87"


@pytest.mark.parametrize("properties", [None, b"", BOTH], ids=["left_out", "none", "some"])
@pytest.mark.parametrize("reason", [0x00, 0x10])
def test_answers_of_a_client(mqtt: Clients, reason: int, properties: bytes | None) -> None:
    """A client's acknowledgements may have a reason code and properties (3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=2), mqtt.connect()
    for qos, answer in ANSWERS.items():
        publisher.publish(topic, qos=qos)
        number = wire.publication().number
        wire.send(acknowledgement(answer, number, reason, properties))
    assert number_of(wire.receive(Kind.PUBREL)) == number
    wire.send(acknowledgement(Kind.PUBCOMP, number, 0, properties))
    publisher.send(publish(topic, qos=2, number=99))
    publisher.receive(Kind.PUBREC)
    assert publisher.ask(acknowledgement(Kind.PUBREL, 99, 0, properties), Kind.PUBCOMP).body == b"\x00\x63"
    wire.settle()


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", 0x81),
        (b"\0", 0x81),
        (b"\0\1\0\5\x1f\0\x09ab", 0x81),
        (b"\0\1\0\0x", 0x81),
        (b"\0\1\0\5\x11\0\0\0\1", 0x81),
        (b"\0\1\0\x08\x1f\0\1a\x1f\0\1a", 0x82),
    ],
    ids=["empty", "half_a_number", "cut_property", "more_after_it", "no_property_of_it", "reason_string_twice"],
)
def test_broken(mqtt: Clients, kind: Kind, body: bytes, reason: int) -> None:
    """What is no acknowledgement closes the connection (4.13.1-1)."""
    wire = mqtt.connect()
    wire.send(packet(kind, 2 if kind is Kind.PUBREL else 0, body))
    assert wire.is_closed_for(reason)


@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0x6, 0xA, 0xF])
def test_flags_of_pubrel(mqtt: Clients, flags: int) -> None:
    """A PUBREL with other flags than 0010 is malformed and closes the connection (3.6.1-1)."""
    wire = mqtt.connect()
    wire.send(packet(Kind.PUBREL, flags, b"\x00\x01"))
    assert wire.is_closed_for(0x81)


@pytest.mark.parametrize("qos", [1, 2])
def test_refused_by_the_client(mqtt: Clients, qos: int) -> None:
    """What a client refuses is acknowledged: it isn't released or sent again, and its place is free (4.4.0-2)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.connect(name, clean=False, properties=prop(Name.RECEIVE_MAXIMUM, 1))
    assert wire.subscribe(topic, qos=qos) == [qos]
    for payload in (b"1", b"2"):
        mqtt.send(topic, payload, qos=qos)
    first = wire.publication()
    assert first.payload == b"1"
    wire.send(acknowledgement(ANSWERS[qos], first.number, 0x83))
    assert wire.delivery().payload == b"2"
    wire.settle()
    assert not wire.inbox, "released what was refused"
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    wire.settle()
    assert not wire.inbox
