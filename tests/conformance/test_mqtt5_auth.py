"""AUTH and enhanced authentication of MQTT 5 (3.15, 4.12): none is offered, and all of it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Will, packet
from tests.support.properties import Name, as_properties, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

METHOD = prop(Name.AUTHENTICATION_METHOD, "SCRAM-SHA-1")
BAD_METHOD = 0x8C
CONTINUE, AGAIN = 0x18, 0x19


def _auth(reason: int, properties: bytes = METHOD, flags: int = 0) -> bytes:
    return packet(Kind.AUTH, flags, bytes([reason]) + as_properties(properties))


@pytest.mark.parametrize(
    "properties", [METHOD, METHOD + prop(Name.AUTHENTICATION_DATA, b"n,,n=user"), prop(Name.AUTHENTICATION_METHOD, "")]
)
def test_method(mqtt: Clients, properties: bytes) -> None:
    """A CONNECT with a method is answered with 0x8C and nothing else, and closed; no AUTH asks for more.

    Also with a good password: who asks for a method isn't let in by another (4.12.0-1, 4.12.0-2, 4.12.0-4, 4.12.0-5,
    4.13.2-1).
    """
    witness, wire = mqtt.witness(), mqtt.open()
    wire.send(mqtt.hello(mqtt.name(), properties=properties, will=Will(mqtt.topic("will"))))
    assert wire.is_closed_by_broker()
    assert [(got.kind, got.body[:2]) for got in wire.inbox] == [(Kind.CONNACK, bytes([0, BAD_METHOD]))]
    assert witness.publications() == []


def test_data_without_method(mqtt: Clients) -> None:
    """Data without a method is a protocol error (4.13.1-1)."""
    wire = mqtt.open()
    wire.send(mqtt.hello(mqtt.name(), properties=prop(Name.AUTHENTICATION_DATA, b"x")))
    assert wire.is_closed_by_broker()
    assert not [got for got in wire.inbox if got.kind != Kind.CONNACK or got.body[1] < 0x80]


def test_method_touches_nothing(mqtt: Clients) -> None:
    """Such a CONNECT takes over no session and ends no connection (4.12.0-4)."""
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    other = mqtt.open()
    assert other.log_in(mqtt.hello(name, properties=METHOD)) == BAD_METHOD
    wire.publish(mqtt.topic("x"), b"1", qos=1)
    assert wire.payloads() == [b"1"]


def test_connack_without_method(mqtt: Clients) -> None:
    """Without a method in CONNECT there is none in CONNACK, no data, and no AUTH (4.12.0-6)."""
    wire = mqtt.connect()
    assert not {Name.AUTHENTICATION_METHOD, Name.AUTHENTICATION_DATA} & set(wire.terms)
    wire.settle()
    assert not wire.inbox


@pytest.mark.parametrize("reason", [0x00, CONTINUE, AGAIN, 0x42], ids=hex)
@pytest.mark.parametrize("properties", [METHOD, b""], ids=["method", "none"])
def test_auth_of_a_client(mqtt: Clients, reason: int, properties: bytes) -> None:
    """As no CONNECT with a method is accepted, each AUTH is a protocol error, whatever it says; it gets no AUTH.

    So there is no AUTH that a reason string or user properties could make too long (3.15.2-1, 3.15.2-2, 3.15.2-3,
    4.12.0-3, 4.12.0-7, 4.12.1-1, 4.12.1-2).
    """
    witness = mqtt.subscriber(mqtt.topic("will"))
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(_auth(reason, properties))
    assert wire.is_closed_for(0x82)
    assert witness.publication().payload == b"gone"


@pytest.mark.parametrize("flags", [0x1, 0x2, 0x4, 0xF])
def test_flags(mqtt: Clients, flags: int) -> None:
    """An AUTH with other flags than 0 is malformed (3.15.1-1)."""
    wire = mqtt.connect()
    wire.send(_auth(CONTINUE, flags=flags))
    assert wire.is_closed_for(0x81)


def test_auth_first(mqtt: Clients) -> None:
    """An AUTH before CONNECT is answered by nothing (4.12.0-6)."""
    wire = mqtt.open()
    wire.send(_auth(CONTINUE))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
