"""Fixed headers (2.2), protocol violations (4.8), and packets in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    Will,
    acknowledgement,
    number_of,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients


MALFORMED = 0x81
ONE = b"\x00\x01"
FLAGGED: dict[str, Callable[[], bytes]] = {
    "puback": lambda: acknowledgement(Kind.PUBACK, 1),
    "pubrec": lambda: acknowledgement(Kind.PUBREC, 1),
    "pubrel": lambda: acknowledgement(Kind.PUBREL, 1),
    "pubcomp": lambda: acknowledgement(Kind.PUBCOMP, 1),
    "subscribe": lambda: subscribe(1, ("a", 0)),
    "unsubscribe": lambda: unsubscribe(1, "a"),
    "pingreq": lambda: PINGREQ,
    "disconnect": lambda: DISCONNECT,
}
VIOLATIONS = {
    "reserved_type_0": packet(0, 0, b""),
    "reserved_type_15": packet(15, 0, b""),
    "connack": packet(Kind.CONNACK, 0, b"\0\0"),
    "suback": packet(Kind.SUBACK, 0, ONE + b"\0"),
    "unsuback": packet(Kind.UNSUBACK, 0, ONE),
    "pingresp": packet(Kind.PINGRESP, 0, b""),
    "length_of_five_bytes": b"\x30\xff\xff\xff\xff\x01",
    "pingreq_with_a_body": packet(Kind.PINGREQ, 0, b"\0"),
    "disconnect_with_a_body": packet(Kind.DISCONNECT, 0, b"\0"),
    "puback_without_its_id": packet(Kind.PUBACK, 0, b""),
    "puback_with_half_its_id": packet(Kind.PUBACK, 0, b"\0"),
    "puback_with_more": packet(Kind.PUBACK, 0, ONE + b"\0"),
    "pubrel_with_more": packet(Kind.PUBREL, 2, ONE + b"\0"),
    "publish_of_nothing": packet(Kind.PUBLISH, 0, b""),
    "publish_with_half_a_length": packet(Kind.PUBLISH, 0, b"\0"),
    "publish_topic_over_its_end": packet(Kind.PUBLISH, 0, b"\0\x05abc"),
    "publish_without_its_id": packet(Kind.PUBLISH, 2, text("a")),
    "publish_with_half_its_id": packet(Kind.PUBLISH, 2, text("a") + b"\0"),
    "subscribe_without_its_id": packet(Kind.SUBSCRIBE, 2, b""),
    "subscribe_without_its_qos": packet(Kind.SUBSCRIBE, 2, ONE + text("a")),
    "subscribe_filter_over_its_end": packet(Kind.SUBSCRIBE, 2, ONE + b"\0\x05abc"),
    "unsubscribe_filter_over_its_end": packet(Kind.UNSUBSCRIBE, 2, ONE + b"\0\x05abc"),
}


@EACH_VERSION
@pytest.mark.parametrize("right", FLAGGED.values(), ids=FLAGGED)
def test_wrong_flags(mqtt: Clients, right: Callable[[], bytes]) -> None:
    """Any flags but those that a packet must have close the connection (2.2.2-2).

    MQTT 5: 2.1.3-1.
    """
    sent = right()
    for flags in set(range(16)) - {sent[0] & 0x0F}:
        wire = mqtt.connect()
        wire.send(bytes([sent[0] & 0xF0 | flags]) + sent[1:])
        assert wire.is_closed_for(MALFORMED), flags


@EACH_VERSION
def test_flags_of_the_server(mqtt: Clients) -> None:
    """Every packet that the server sends has the flags that its kind must have (2.2.2-1).

    MQTT 5: 2.1.3-1.
    """
    topic, wire = mqtt.topic("x"), mqtt.open()
    wire.send(
        mqtt.hello(mqtt.name()),
        subscribe(1, (topic, 2)),
        publish(topic, qos=1, number=2),
        publish(topic, qos=2, number=3),
        acknowledgement(Kind.PUBREL, 3),
        unsubscribe(4, topic),
    )
    wire.settle()
    wire.send(*(acknowledgement(Kind.PUBREC, got.number) for got in wire.publications() if got.qos == 2))
    wire.settle()
    kinds = {got.kind for got in wire.inbox}
    assert kinds == {Kind.CONNACK, Kind.SUBACK, Kind.PUBACK, Kind.PUBREC, Kind.PUBCOMP, Kind.UNSUBACK, Kind.PUBREL}
    assert all(got.flags == (2 if got.kind == Kind.PUBREL else 0) for got in wire.inbox)


@EACH_VERSION
def test_wrong_flags_of_connect(mqtt: Clients) -> None:
    """A CONNECT with flags in its fixed header is none (2.2.2-2).

    MQTT 5: 2.1.3-1.
    """
    right = mqtt.hello(mqtt.name())
    for flags in range(1, 16):
        assert mqtt.open().log_in(bytes([right[0] | flags]) + right[1:]) is None, flags


def test_wrong_flags_of_pubrel(mqtt: Clients) -> None:
    """A PUBREL without its bit 1 releases nothing and closes the connection (3.6.1-1)."""
    name = mqtt.name()
    wire = mqtt.connect(name, clean=False)
    wire.send(publish(mqtt.topic("x"), qos=2, number=5))
    wire.receive(Kind.PUBREC)
    wire.send(packet(Kind.PUBREL, 0, b"\x00\x05"))
    assert wire.is_closed_by_broker()
    witness, again = mqtt.subscriber(mqtt.topic("x")), mqtt.connect(name, clean=False)
    again.send(publish(mqtt.topic("x"), qos=2, number=5, dup=True))
    again.receive(Kind.PUBREC)
    assert witness.publications() == [], "the message was released"


@pytest.mark.parametrize("flags", [0x01, 0x02, 0x04, 0x08])
def test_disconnect_with_reserved_bits(mqtt: Clients, flags: int) -> None:
    """A DISCONNECT with a reserved bit is a violation, not a DISCONNECT: the will goes out (3.14.1-1)."""
    witness = mqtt.subscriber(mqtt.topic("will"))
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(packet(Kind.DISCONNECT, flags, b""))
    assert wire.is_closed_by_broker()
    assert witness.publication().payload == b"gone"


@pytest.mark.parametrize("sent", VIOLATIONS.values(), ids=VIOLATIONS)
def test_protocol_violation(mqtt: Clients, sent: bytes) -> None:
    """A violation closes the connection on which it came, and no other; nothing after it is handled (4.8.0-1)."""
    witness, other = mqtt.witness(), mqtt.connect()
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(sent, publish(mqtt.topic("after")))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
    assert witness.publication().topic == mqtt.topic("will")
    other.settle()
    assert witness.publications() == []


def test_violation_before_connect(mqtt: Clients) -> None:
    """A length of more than four bytes closes a connection that has sent nothing else (4.8.0-1)."""
    assert mqtt.open().log_in(b"\x10\xff\xff\xff\xff\x01") is None


def test_byte_by_byte(mqtt: Clients) -> None:
    """The transport is a stream of bytes: packets may come in any pieces (7.1.1-1)."""
    wire, topic = mqtt.open(), mqtt.topic("x")
    sent = [
        mqtt.hello(mqtt.name()),
        subscribe(1, (topic, 2)),
        publish(topic, bytes(200), qos=2, number=7),
        acknowledgement(Kind.PUBREL, 7),
        PINGREQ,
    ]
    for byte in b"".join(sent):
        wire.send(bytes([byte]))
    for kind in Kind.CONNACK, Kind.SUBACK, Kind.PUBREC, Kind.PUBLISH, Kind.PUBCOMP, Kind.PINGRESP:
        wire.receive(kind)
    assert not wire.inbox


def test_all_at_once(mqtt: Clients) -> None:
    """A client may send without waiting for any answer, CONNACK included (3.1.4); all of it is handled, in order."""
    wire, topic = mqtt.open(), mqtt.topic("x")
    wire.send(
        mqtt.hello(mqtt.name()),
        subscribe(1, (topic, 1)),
        *(publish(topic, bytes([n]), qos=1, number=n + 10) for n in range(50)),
        DISCONNECT,
    )
    assert wire.is_closed_by_broker()
    kinds = [got.kind for got in wire.inbox]
    assert kinds[:2] == [Kind.CONNACK, Kind.SUBACK]
    assert [number_of(got) for got in wire.inbox if got.kind == Kind.PUBACK] == list(range(10, 60))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 200_000])
def test_remaining_length(mqtt: Clients, length: int) -> None:
    """Packets around the sizes at which the length takes one more byte pass unchanged (2.2.3)."""
    topic = mqtt.topic("x")
    payload = bytes(n % 251 for n in range(max(0, length - len(text(topic)))))
    wire = mqtt.subscriber(topic)
    wire.publish(topic, payload)
    assert wire.payloads() == [payload]
