"""DISCONNECT of MQTT 5, in both directions (3.14), and the end of a connection (4.13)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    Will,
    connect,
    packet,
    properties_of,
    publish,
    subscribe,
)
from tests.support.properties import Name, as_properties, prop
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("mqtt_5")

WITH_WILL = 0x04
CODES = {
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
}  # fmt: skip
"""The table of 3.14.2.1."""
TOO_LONG = packet(Kind.PUBLISH, 0, b"")[:1] + b"\xff\xff\xff\x7f"
BREACHES = {
    "reserved_type": (packet(0, 0, b""), 0x82),
    "second_connect": (connect("x", level=5), 0x82),
    "packet_of_servers": (packet(Kind.SUBACK, 0, b"\0\1\0\0"), 0x82),
    "flags": (packet(Kind.PINGREQ, 1, b""), 0x81),
    "body": (packet(Kind.PINGREQ, 0, b"x"), 0x81),
    "length": (b"\x30\xff\xff\xff\xff\x01", 0x81),
    "too_long": (TOO_LONG, 0x95),
    "topic": (publish("a/#", level=5), 0x81),
    "filter": (subscribe(1, "a#", level=5), 0x81),
    "alias": (publish("a", level=5, properties=prop(Name.TOPIC_ALIAS, 0)), 0x94),
    "qos_3": (packet(Kind.PUBLISH, 6, b"\0\1a\0\1\0"), 0x81),
}


def _leaving(reason: int, properties: bytes | None = None) -> bytes:
    """Return a client's DISCONNECT."""
    return packet(Kind.DISCONNECT, 0, bytes([reason]) + (b"" if properties is None else as_properties(properties)))


@pytest.mark.parametrize("breach", BREACHES)
def test_told_and_closed(mqtt: Clients, breach: str) -> None:
    """A breach is told with a code of the table and nothing else, and ends the connection.

    No other packet is sent or handled then, and no session expiry (3.14.2-1, 3.14.2-2, 3.14.4-1, 3.14.4-2, 4.13.1-1,
    4.13.2-1).
    """
    sent, reason = BREACHES[breach]
    witness, wire = mqtt.subscriber(mqtt.topic("after")), mqtt.connect()
    wire.send(sent, publish(mqtt.topic("after"), qos=1), PINGREQ)
    assert wire.is_closed_for(reason)
    assert reason in CODES
    assert {name for name, _ in properties_of(wire.inbox[0])} <= {Name.REASON_STRING}
    assert witness.publications() == []


@pytest.mark.parametrize("breach", BREACHES)
def test_nothing_before_connack(mqtt: Clients, breach: str) -> None:
    """Before a CONNACK of success no DISCONNECT is sent, whatever comes (3.14.0-1, 4.13.1-1)."""
    wire = mqtt.open()
    if breach == "second_connect":
        wire.send(connect(mqtt.name(), mqtt.key.key, "wrong"))
    wire.send(BREACHES[breach][0])
    assert wire.is_closed_by_broker()
    assert not [got for got in wire.inbox if got.kind == Kind.DISCONNECT]


def test_nothing_after_a_refusal(mqtt: Clients) -> None:
    """A CONNACK that refuses is the last packet, and ends the connection (3.14.0-1, 4.13.2-1)."""
    wire = mqtt.open()
    wire.send(connect(mqtt.name(), mqtt.key.key, "wrong"), publish(mqtt.topic("x")), DISCONNECT)
    assert wire.is_closed_by_broker()
    assert [(got.kind, got.body[1]) for got in wire.inbox] == [(Kind.CONNACK, 0x87)]


def test_taken_over(mqtt: Clients) -> None:
    """Whose client id connects anew is told 0x8E; the reason string says so, where it fits (3.14.2-1, 3.14.2-3)."""
    name = mqtt.name()
    first = mqtt.connect(name)
    short = mqtt.connect(name, properties=prop(Name.MAXIMUM_PACKET_SIZE, 20))
    mqtt.connect(name)
    assert first.is_closed_for(0x8E)
    assert properties_of(first.inbox[0]) == [(Name.REASON_STRING, "another connection uses this client id")]
    assert short.is_closed_for(0x8E)
    assert short.inbox[0].body == b"\x8e"


def test_no_user_properties(mqtt: Clients) -> None:
    """A DISCONNECT of the server has no user properties, so they never make it too long (3.14.2-4)."""
    wire = mqtt.connect(properties=prop(Name.USER_PROPERTY, ("a", "b")))
    wire.send(publish(mqtt.topic("x"), properties=prop(Name.USER_PROPERTY, ("a", "b"))), packet(0, 0, b""))
    assert wire.is_closed_for(0x82)
    assert Name.USER_PROPERTY not in dict(properties_of(wire.inbox[0]))


def test_stopping(tmp_path: Path) -> None:
    """A server that stops tells its clients 0x8B, and is gone then (3.14.2-1, 3.14.4-2)."""
    with ServerProcess(tmp_path / "server", environment=NO_LIMITS) as server:
        fleet = Fleet(server)
        with Clients(fleet, fleet.application(**EVERYTHING)) as mqtt:
            wire = mqtt.connect()
            server.terminate()
            assert wire.is_closed_for(0x8B)


@pytest.mark.parametrize("flags", [0x1, 0x2, 0x8, 0xF])
def test_flags(mqtt: Clients, flags: int) -> None:
    """A DISCONNECT with reserved flags is answered with 0x81; it is none, so the will goes out (3.14.1-1)."""
    witness = mqtt.subscriber(mqtt.topic("will"))
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(packet(Kind.DISCONNECT, flags, b"\0"))
    assert wire.is_closed_for(0x81)
    assert witness.publication().payload == b"gone"


@pytest.mark.parametrize(
    ("leaving", "is_sent"),
    [
        (DISCONNECT, False),
        (_leaving(0), False),
        (_leaving(0, b""), False),
        (_leaving(0, prop(Name.REASON_STRING, "done") + prop(Name.USER_PROPERTY, ("a", "b"))), False),
        (_leaving(WITH_WILL), True),
        (_leaving(WITH_WILL, prop(Name.REASON_STRING, "bye")), True),
        (_leaving(0x80), True),
        (_leaving(0x93), True),
    ],
    ids=["empty", "zero", "no_properties", "properties", "with_will", "with_will_and_properties", "error", "maximum"],
)
def test_will(mqtt: Clients, leaving: bytes, *, is_sent: bool) -> None:
    """After 0x00 the will is discarded, after any other reason it is published; the connection ends (3.14.4-3)."""
    witness, wire = mqtt.witness(), mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(leaving, publish(mqtt.topic("after")))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
    mqtt.send(mqtt.topic("last"))
    assert [got.topic for got in witness.publications()] == [mqtt.topic("will")] * is_sent + [mqtt.topic("last")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\0\x05\x1f\0\x09ab", 0x81),
        (b"\0\x05\x21\0\0\0\1", 0x81),
        (b"\0\0x", 0x81),
        (b"\0\x0a\x11\0\0\0\1\x11\0\0\0\1", 0x82),
    ],
    ids=["cut", "not_of_it", "more_after_it", "twice"],
)
def test_broken(mqtt: Clients, body: bytes, reason: int) -> None:
    """What is no DISCONNECT is a breach: the client is told, and its will goes out (4.13.1-1)."""
    witness = mqtt.subscriber(mqtt.topic("will"))
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(packet(Kind.DISCONNECT, 0, body))
    assert wire.is_closed_for(reason)
    assert witness.publication().payload == b"gone"


def test_session_that_ends_now(mqtt: Clients) -> None:
    """A client may end its session with its DISCONNECT (4.1.0-2)."""
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    wire.send(_leaving(0, prop(Name.SESSION_EXPIRY, 0)))
    assert wire.is_closed_by_broker()
    assert not mqtt.connect(name, clean=False).is_session_present


def test_session_that_ends_soon(mqtt: Clients) -> None:
    """A session is there until the interval is over that its client gave last, and not longer (4.1.0-2)."""
    names = [mqtt.name() for _ in range(3)]
    changed = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=names[0], clean=False)
    short = mqtt.connect(names[1], properties=prop(Name.SESSION_EXPIRY, 1))
    longer = mqtt.connect(names[2], properties=prop(Name.SESSION_EXPIRY, 1))
    changed.send(_leaving(0, prop(Name.SESSION_EXPIRY, 1)))
    longer.send(_leaving(0, prop(Name.SESSION_EXPIRY, 60)))
    assert changed.is_closed_by_broker()
    assert longer.is_closed_by_broker()
    short.drop()
    short = mqtt.connect(names[1], clean=False, properties=prop(Name.SESSION_EXPIRY, 1))
    assert short.is_session_present
    short.drop()
    time.sleep(1.1)
    assert [mqtt.connect(name, clean=False).is_session_present for name in names] == [False, False, True]


def test_expiry_where_there_was_none(mqtt: Clients) -> None:
    """A session that was to end with its connection can't be kept by DISCONNECT: 0x82 (4.1.0-2, 4.13.1-1)."""
    name = mqtt.name()
    witness = mqtt.subscriber(mqtt.topic("will"))
    wire = mqtt.connect(name, will=Will(mqtt.topic("will")))
    wire.send(_leaving(0, prop(Name.SESSION_EXPIRY, 60)))
    assert wire.is_closed_for(0x82)
    assert witness.publication().payload == b"gone"
    assert not mqtt.connect(name, clean=False).is_session_present
