"""Strings, string pairs and variable byte integers of MQTT 5 (1.5), wherever a property has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Will, packet, publish, subscribe, text, unsubscribe
from tests.support.properties import Name, Value, as_properties, prop, variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

MALFORMED = 0x81
BROKEN = {
    "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf",
    "cut_off": b"x\xe2\x82",
    "ff": b"\xff",
    "nul": b"\x00",
    "nul_within": b"a\x00b",
}
MARK = "\ufeff"


def _user(key: bytes, value: bytes) -> bytes:
    return bytes([Name.USER_PROPERTY]) + text(key) + text(value)


def _disconnect(properties: bytes) -> bytes:
    return packet(Kind.DISCONNECT, 0, b"\0" + as_properties(properties))


STRINGS: dict[str, Callable[[bytes], bytes]] = {
    "content_type": lambda broken: publish("a", properties=prop(Name.CONTENT_TYPE, broken)),
    "response_topic": lambda broken: publish("a", properties=prop(Name.RESPONSE_TOPIC, broken)),
    "reason_of_disconnect": lambda broken: _disconnect(prop(Name.REASON_STRING, broken)),
}
PAIRS: dict[str, Callable[[bytes], bytes]] = {
    "publish": lambda properties: publish("a", qos=1, properties=properties),
    "subscribe": lambda properties: subscribe(1, ("a", 0), properties=properties),
    "unsubscribe": lambda properties: unsubscribe(1, "a", properties=properties),
    "disconnect": _disconnect,
}
LONGER_THAN_NECESSARY: dict[str, bytes] = {
    "length_of_properties": packet(Kind.PUBLISH, 0, text("a") + b"\x80\x00x"),
    "length_of_properties_in_four": packet(Kind.PUBLISH, 0, text("a") + b"\x80\x80\x80\x00x"),
    "length_that_is_not_0": packet(Kind.PUBLISH, 0, text("a") + b"\x82\x00" + prop(Name.PAYLOAD_FORMAT, 1)),
    "length_of_five": packet(Kind.PUBLISH, 0, text("a") + b"\x80\x80\x80\x80\x00x"),
    "identifier": packet(Kind.PUBLISH, 0, text("a") + b"\x03\x81\x00\x01"),
    "subscription_identifier": packet(Kind.SUBSCRIBE, 2, b"\0\x01\x03\x0b\x81\x00" + text("a") + b"\0"),
    "remaining_length": b"\xc0\x80\x00",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("sent", STRINGS.values(), ids=STRINGS)
def test_broken_string_in_a_property(mqtt: Clients, sent: Callable[[bytes], bytes], broken: bytes) -> None:
    """Ill-formed UTF-8, or NUL, in a property is malformed, and nobody gets it.

    1.5.4-1, 1.5.4-2; the response topic: 3.3.2-13; the content type: 3.3.2-19.
    """
    witness, wire = mqtt.subscriber("a"), mqtt.connect()
    wire.send(sent(broken))
    assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []


@pytest.mark.parametrize("name", [Name.CONTENT_TYPE, Name.RESPONSE_TOPIC])
def test_broken_string_in_a_will(mqtt: Clients, name: Name) -> None:
    """The same in the properties of a will: no CONNECT at all (1.5.4-1, 1.5.4-2, 3.3.2-13, 3.3.2-19)."""
    for broken in BROKEN.values():
        will = Will(mqtt.topic("will"), properties=prop(name, broken))
        assert mqtt.open().log_in(mqtt.hello(mqtt.name(), will=will)) is None


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("sent", PAIRS.values(), ids=PAIRS)
def test_broken_pair(mqtt: Clients, sent: Callable[[bytes], bytes], broken: bytes) -> None:
    """Both strings of a pair, the name and the value, must be well-formed (1.5.7-1)."""
    for pair in _user(broken, b"v"), _user(b"k", broken):
        wire = mqtt.connect()
        wire.send(sent(pair))
        assert wire.is_closed_for(MALFORMED)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_pair_in_connect(mqtt: Clients, broken: bytes) -> None:
    """A CONNECT with such a pair, its own or its will's, is closed without a CONNACK (1.5.7-1)."""
    for pair in _user(broken, b"v"), _user(b"k", broken):
        assert mqtt.open().log_in(mqtt.hello(mqtt.name(), properties=pair)) is None
        assert mqtt.open().log_in(mqtt.hello(mqtt.name(), will=Will(mqtt.topic("w"), properties=pair))) is None


@pytest.mark.parametrize("value", [MARK, f"{MARK}x", f"x{MARK}"], ids=["alone", "first", "last"])
def test_zero_width_no_break_space_in_properties(mqtt: Clients, value: str) -> None:
    """EF BB BF is passed on as it came, in strings and in pairs (1.5.4-3)."""
    wire = mqtt.subscriber(mqtt.topic("x"))
    sent: list[tuple[int, Value]] = [
        (Name.CONTENT_TYPE, value),
        (Name.RESPONSE_TOPIC, value),
        (Name.USER_PROPERTY, (value, value)),
    ]
    mqtt.send(mqtt.topic("x"), properties=b"".join(prop(*each) for each in sent))
    assert list(wire.publication().properties) == sent


@pytest.mark.parametrize("sent", LONGER_THAN_NECESSARY.values(), ids=LONGER_THAN_NECESSARY)
def test_integer_in_more_bytes_than_necessary(mqtt: Clients, sent: bytes) -> None:
    """A variable byte integer in more bytes than it needs is malformed (1.5.5-1)."""
    witness, wire = mqtt.subscriber("a"), mqtt.connect()
    wire.send(sent)
    assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []


@pytest.mark.parametrize("size", [0, 1, 60, 127, 128, 16_383, 16_384, 20_000])
def test_integers_of_the_server(mqtt: Clients, size: int) -> None:
    """The lengths and identifiers that the server sends have no byte too many (1.5.5-1)."""
    topic = mqtt.topic("x")
    identifier = max(1, size)
    wire = mqtt.connect()
    wire.subscribe(topic, properties=prop(Name.SUBSCRIPTION_IDENTIFIER, identifier))
    value = bytes(min(size, 16_000))
    wire.publish(topic, bytes(size), properties=prop(Name.CORRELATION_DATA, value))
    got = wire.receive(Kind.PUBLISH)
    sent = prop(Name.CORRELATION_DATA, value) + b"\x0b" + variable(identifier)
    assert got.body == text(topic) + variable(len(sent)) + sent + bytes(size)
