"""CONNACK of MQTT 5 (3.2): what it says, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import PINGREQ, Kind, Will, connect, publish, subscribe, text
from tests.support.properties import Name, as_properties, prop, read_properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

BAD_METHOD, NOT_AUTHORIZED, TOO_LARGE = 0x8C, 0x87, 0x95
CODES = {
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
    0x9C, 0x9D, 0x9F,
}  # fmt: skip
"""Table 3-1."""
ALLOWED = {17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42}
"""The properties of CONNACK in table 2-4."""
FEATURES = {Name.MAXIMUM_QOS, Name.RETAIN_AVAILABLE, Name.WILDCARDS, Name.IDENTIFIERS, Name.SHARED}
MAX_PACKET = 256 * 1024
METHOD = prop(Name.AUTHENTICATION_METHOD, "PLAIN")
Answered = tuple[int, "Callable[[Clients, str], bytes]"]
ANSWERED: dict[str, Answered] = {
    "accepted": (0, lambda m, name: m.hello(name)),
    "accepted_with_everything": (
        0,
        lambda m, _: m.hello(
            "", clean=False, properties=prop(Name.REQUEST_RESPONSE, 1) + prop(Name.RECEIVE_MAXIMUM, 1)
        ),
    ),
    "resumed": (0, lambda m, name: m.hello(name, clean=False)),
    "wrong_secret": (NOT_AUTHORIZED, lambda m, name: connect(name, m.key.key, "0" * 64, clean=False)),
    "method": (BAD_METHOD, lambda m, name: m.hello(name, clean=False, properties=METHOD)),
    "long_client_id": (0x85, lambda m, _: m.hello("x" * 300, clean=False)),
}


@pytest.mark.parametrize("answered", ANSWERED.values(), ids=ANSWERED)
def test_connack(mqtt: Clients, answered: Answered) -> None:
    """It has no reserved flag, a code of the table, and properties that it may have, each once.

    3.2.2-1, 3.2.2-8; one that isn't of success says nothing of a session and is the last: 3.2.2-6, 3.2.2-7.
    """
    reason, hello = answered
    name = mqtt.name()
    mqtt.connect(name, clean=False).disconnect()
    wire = mqtt.open()
    wire.send(hello(mqtt, name))
    got = wire.read()
    assert got is not None
    assert (got.kind, got.flags) == (Kind.CONNACK, 0)
    assert got.body[0] in {0, 1}
    assert got.body[1] == reason
    assert reason in CODES
    properties, end = read_properties(got.body, 2)
    assert end == len(got.body)
    names = [each for each, _ in properties]
    assert set(names) <= ALLOWED
    assert len(names) == len(set(names))
    if reason:
        assert got.body[0] == 0
        assert wire.is_closed_by_broker()
        assert not wire.inbox
    else:
        wire.settle()


def test_one_connack(mqtt: Clients) -> None:
    """There is one, before anything else, even if all the rest is sent with the CONNECT (3.2.0-1, 3.2.0-2)."""
    topic, wire = mqtt.topic("x"), mqtt.open()
    wire.send(mqtt.hello(mqtt.name()), subscribe(1, (topic, 1)), publish(topic, qos=1), PINGREQ)
    wire.receive(Kind.PINGRESP)
    kinds = [got.kind for got in wire.inbox]
    assert kinds[0] == Kind.CONNACK
    assert kinds.count(Kind.CONNACK) == 1


def test_features(mqtt: Clients) -> None:
    """Nothing is said about features, so all are there; and they work, at every QoS.

    3.2.2-9, 3.2.2-10, 3.2.2-11; retained messages: 3.2.2-14.
    """
    wire, topic = mqtt.connect(), mqtt.topic("x")
    assert not FEATURES & set(wire.terms)
    for qos in range(3):
        wire.send(subscribe(qos + 1, (mqtt.topic("+"), qos), properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 7)))
        assert wire.receive(Kind.SUBACK).body[-1] == qos
        wire.publish(topic, qos=qos, retain=True)
        got = wire.delivery()
        assert (got.qos, got.properties) == (qos, ((Name.SUBSCRIPTION_IDENTIFIER, 7),))
        assert mqtt.retained(topic) == [(topic, b"x", qos)]
        wire.publish(topic, b"", retain=True)
        wire.delivery()
        wire.unsubscribe(mqtt.topic("+"))
    wire.send(subscribe(9, (f"$share/group/{topic}", 2)))
    assert wire.receive(Kind.SUBACK).body[-1] == 2
    wire.publish(topic, qos=2)
    assert wire.delivery().qos == 2


@pytest.mark.parametrize("requested", [None, 0, 1])
def test_response_information(mqtt: Clients, requested: int | None) -> None:
    """It is sent only to who requests it, and says where the client may have its answers sent (3.1.2-28)."""
    device = mqtt.fleet.device()
    properties = prop(Name.REQUEST_RESPONSE, requested) if requested is not None else b""
    terms = mqtt.connect(device.client_id, key=device, properties=properties).terms
    if requested:
        assert device.client_id in terms[Name.RESPONSE_INFORMATION]
    else:
        assert Name.RESPONSE_INFORMATION not in terms


@pytest.mark.parametrize("clean", [True, False])
def test_assigned_client_id(mqtt: Clients, *, clean: bool) -> None:
    """A client without an id is given one, new for each, as if it had sent it (3.1.3-6, 3.1.3-7, 3.2.2-16)."""
    wires = [mqtt.connect("", clean=clean) for _ in range(5)]
    names = [wire.terms[Name.ASSIGNED_CLIENT_ID] for wire in wires]
    assert len(set(names)) == len(names)
    assert not any(wire.is_session_present for wire in wires)
    wires[0].subscribe(mqtt.topic("x"), qos=1)
    again = mqtt.connect(names[0], clean=False)
    assert wires[0].is_closed_by_broker()
    assert Name.ASSIGNED_CLIENT_ID not in again.terms
    assert again.is_session_present == (not clean)
    mqtt.send(mqtt.topic("x"), qos=1)
    assert len(again.publications()) == (0 if clean else 1)


def test_assigned_client_id_of_a_device(mqtt: Clients) -> None:
    """A device without an id is given its own, whose session nobody else has (3.1.3-7, 3.2.2-16)."""
    device = mqtt.fleet.device()
    wire = mqtt.connect("", key=device)
    assert wire.terms[Name.ASSIGNED_CLIENT_ID] == device.client_id


def test_no_assigned_client_id(mqtt: Clients) -> None:
    """Who brings an id is assigned none (3.1.3-7)."""
    assert Name.ASSIGNED_CLIENT_ID not in mqtt.connect().terms


def test_server_keep_alive(mqtt: Clients) -> None:
    """By default the server takes every keep alive, and says nothing about it (3.2.2-22)."""
    for seconds in 0, 1, 60, 65_535:
        assert Name.SERVER_KEEP_ALIVE not in mqtt.connect(keep_alive_seconds=seconds).terms


def _largest(wire: Wire, topic: str, size: int) -> bytes:
    """Return a PUBLISH of exactly so many bytes."""
    packet = publish(topic, bytes(size - 100))
    packet = publish(topic, bytes(size - 100 + size - len(packet)))
    assert len(packet) == size
    assert wire.terms[Name.MAXIMUM_PACKET_SIZE] == MAX_PACKET
    return packet


def test_maximum_packet_size_of_the_server(mqtt: Clients) -> None:
    """It is announced; a packet of that size is taken, and a longer one closes the connection (3.2.2-15)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic)
    wire.send(_largest(wire, topic, MAX_PACKET))
    assert wire.publication().topic == topic
    wire.send(_largest(wire, topic, MAX_PACKET + 100)[:1000])
    assert wire.is_closed_for(TOO_LARGE)


def test_reason_string_that_is_too_long(mqtt: Clients) -> None:
    """A CONNACK is not made longer than the client takes: it is sent without its reason string (3.2.2-19, 3.2.2-20)."""
    for most in 10, 40, 80, 200:
        wire = mqtt.open()
        properties = METHOD + prop(Name.MAXIMUM_PACKET_SIZE, most)
        wire.log_in(mqtt.hello(mqtt.name(), properties=properties))
        assert wire.reason == BAD_METHOD
        assert (Name.REASON_STRING in wire.terms) == (most >= 80)
        assert Name.USER_PROPERTY not in wire.terms


@pytest.mark.parametrize("wanted", [0, 1, None])
def test_problem_information(mqtt: Clients, wanted: int | None) -> None:
    """Who doesn't want it gets no reason string in any answer but CONNACK and DISCONNECT (3.1.2-29)."""
    device, other = mqtt.fleet.device(), mqtt.fleet.device()
    properties = prop(Name.REQUEST_PROBLEM, wanted) if wanted is not None else b""
    wire = mqtt.connect(device.client_id, key=device, properties=properties)
    wire.send(
        publish(other.topic("x"), qos=1, number=1),
        publish(other.topic("x"), qos=2, number=2),
        subscribe(3, (other.topic("x"), 1)),
    )
    reason = as_properties() if wanted == 0 else None
    for kind, number in (Kind.PUBACK, 1), (Kind.PUBREC, 2):
        body = wire.receive(kind).body
        assert body[:3] == bytes([0, number, NOT_AUTHORIZED])
        assert body[3:] in {b"", b"\0"} if reason is not None else read_properties(body, 3)[0][0][0] == 31
    body = wire.receive(Kind.SUBACK).body
    found, at = read_properties(body, 2)
    assert body[at:] == bytes([NOT_AUTHORIZED])
    assert [name for name, _ in found] == ([] if reason is not None else [Name.REASON_STRING])


def test_will_of_a_refused_connect(mqtt: Clients) -> None:
    """A will is kept only if the CONNECT is accepted (3.1.2-7)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    will = Will(topic, b"gone", 1, retain=True)
    for hello in (
        connect(mqtt.name(), mqtt.key.key, "wrong", will=will),
        mqtt.hello(mqtt.name(), will=will, properties=METHOD),
        mqtt.hello(mqtt.name(), will=Will(topic, b"gone", 3)),
        mqtt.hello(mqtt.name(), will=will)[:-1] + text("x"),
    ):
        wire = mqtt.open()
        wire.send(hello)
        wire.stream.end()
        assert wire.is_closed_by_broker()
    assert witness.publications() == []
    assert mqtt.retained(topic) == []
