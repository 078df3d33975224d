"""Properties of MQTT 5: which each packet may have, their values, and their bounds (2.2.2)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import MalformedPacketError, PropertyLimits, Reason
from fleetkey.broker.codec.properties import (
    OF_ACKNOWLEDGEMENT,
    OF_CONNECT,
    OF_DISCONNECT,
    OF_PUBLISH,
    OF_SUBSCRIBE,
    OF_UNSUBSCRIBE,
    OF_WILL,
    Property,
    PropertySet,
    read_properties,
    written,
)
from fleetkey.broker.codec.reader import Reader
from tests.support import properties as wire
from tests.support.properties import Name, as_properties, prop
from tests.unit.broker.codec.property_values import ALLOWED, Pairs, encoded, pairs_for

READERS = {
    "connect": OF_CONNECT,
    "will": OF_WILL,
    "publish": OF_PUBLISH,
    "acknowledgement": OF_ACKNOWLEDGEMENT,
    "subscribe": OF_SUBSCRIBE,
    "unsubscribe": OF_UNSUBSCRIBE,
    "disconnect": OF_DISCONNECT,
}
PASSED_ON = {
    *(Name.PAYLOAD_FORMAT, Name.CONTENT_TYPE, Name.RESPONSE_TOPIC, Name.CORRELATION_DATA, Name.USER_PROPERTY),
}
LIMITS = PropertyLimits(max_properties=5, max_property_bytes=300, max_user_properties=3)
LONG = 2**32 - 1
EXAMPLES: dict[int, int | str | bytes | tuple[str, str]] = {
    **dict.fromkeys(wire.ONE_BYTE | wire.TWO_BYTES | wire.FOUR_BYTES, 1),
    **dict.fromkeys(wire.TEXTS, "x"),
    **dict.fromkeys(wire.BINARY, b"\xff"),
    Name.SUBSCRIPTION_IDENTIFIER: 1,
    Name.USER_PROPERTY: ("a", "b"),
}


def _read(packet: str, data: bytes, limits: PropertyLimits | None = None) -> PropertySet:
    """Read properties with something before and behind them."""
    reader = Reader(b"\xee" + data + b"\xee", 1, 1 + len(data))
    found = read_properties(reader, READERS[packet], limits or PropertyLimits())
    assert reader.is_at_end
    return found


def _reason(packet: str, data: bytes, limits: PropertyLimits | None = None) -> Reason:
    with pytest.raises(MalformedPacketError) as error:
        _read(packet, data, limits)
    return error.value.reason


@pytest.mark.parametrize("packet", READERS)
@given(data=st.data())
def test_read_written(packet: str, data: st.DataObject) -> None:
    """What another implementation wrote is read, and what goes on to receivers is kept as it came, in its order."""
    pairs: Pairs = data.draw(pairs_for(packet))
    found = _read(packet, as_properties(encoded(pairs)))
    said = {name: value for name, value in pairs if name != Name.USER_PROPERTY}
    assert {name: found.get(Property(name)) for name in said} == said
    assert all(Property(name) in found for name in said)
    assert not any(Property(name) in found for name in ALLOWED[packet] - set(said) - {Name.USER_PROPERTY})
    passed_on = [pair for pair in pairs if pair[0] in PASSED_ON and packet in {"publish", "will"}]
    if packet in {"publish", "will"}:
        assert found.passed_on == encoded(passed_on)


@pytest.mark.parametrize("packet", READERS)
@pytest.mark.parametrize("name", [*Name, 0, 4, 43, 127, 128])
def test_which_packet(packet: str, name: int) -> None:
    """A property that isn't for this packet, or that there isn't, makes it malformed (2.2.2.2)."""
    data = as_properties(prop(name, EXAMPLES[Name(name)]) if name in list(Name) else wire.variable(name) + b"\0")
    if name in ALLOWED[packet]:
        _read(packet, data)
    else:
        is_an_identifier = packet == "publish" and name == Name.SUBSCRIPTION_IDENTIFIER
        assert _reason(packet, data) is (Reason.PROTOCOL_ERROR if is_an_identifier else Reason.MALFORMED_PACKET)


@pytest.mark.parametrize(
    ("packet", "name"), [(packet, name) for packet, names in ALLOWED.items() for name in sorted(names)]
)
def test_twice(packet: str, name: Name) -> None:
    """Each is there at most once, except user properties."""
    data = as_properties(2 * prop(name, EXAMPLES[name]))
    if name is Name.USER_PROPERTY:
        _read(packet, data)
    else:
        assert _reason(packet, data) is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("packet", "name"), [(packet, name) for packet, names in ALLOWED.items() for name in sorted(names)]
)
def test_cut_short(packet: str, name: Name) -> None:
    """One that ends too early is malformed, whether the properties or the packet end there."""
    whole = prop(name, EXAMPLES[name])
    for end in range(1, len(whole)):
        assert _reason(packet, as_properties(whole[:end])) is Reason.MALFORMED_PACKET
        assert _reason(packet, as_properties(whole)[: 1 + end]) is Reason.MALFORMED_PACKET


@pytest.mark.parametrize(
    ("packet", "data", "reason"),
    [
        pytest.param("connect", prop(Name.RECEIVE_MAXIMUM, 0), Reason.PROTOCOL_ERROR, id="receive_maximum_0"),
        pytest.param("connect", prop(Name.MAXIMUM_PACKET_SIZE, 0), Reason.PROTOCOL_ERROR, id="packet_size_0"),
        pytest.param("connect", prop(Name.REQUEST_PROBLEM, 2), Reason.PROTOCOL_ERROR, id="request_problem_2"),
        pytest.param("connect", prop(Name.REQUEST_RESPONSE, 255), Reason.PROTOCOL_ERROR, id="request_response_255"),
        pytest.param("publish", prop(Name.PAYLOAD_FORMAT, 2), Reason.PROTOCOL_ERROR, id="payload_format_2"),
        pytest.param("publish", prop(Name.TOPIC_ALIAS, 0), Reason.TOPIC_ALIAS_INVALID, id="topic_alias_0"),
        pytest.param("publish", prop(Name.RESPONSE_TOPIC, "a/+"), Reason.PROTOCOL_ERROR, id="response_topic_plus"),
        pytest.param("will", prop(Name.RESPONSE_TOPIC, "#"), Reason.PROTOCOL_ERROR, id="response_topic_hash"),
        pytest.param("subscribe", prop(Name.SUBSCRIPTION_IDENTIFIER, 0), Reason.PROTOCOL_ERROR, id="identifier_0"),
        pytest.param("subscribe", b"\x0b\x80\0", Reason.MALFORMED_PACKET, id="identifier_longer_than_needed"),
        pytest.param("subscribe", b"\x0b\xff\xff\xff\xff\x7f", Reason.MALFORMED_PACKET, id="identifier_of_five_bytes"),
        pytest.param("publish", b"\x81\0\1", Reason.MALFORMED_PACKET, id="name_longer_than_needed"),
        pytest.param("publish", prop(Name.CONTENT_TYPE, b"\xff"), Reason.MALFORMED_PACKET, id="not_utf8"),
        pytest.param("publish", prop(Name.CONTENT_TYPE, "a\0"), Reason.MALFORMED_PACKET, id="nul"),
        pytest.param("publish", prop(Name.CONTENT_TYPE, b"\xed\xa0\x80"), Reason.MALFORMED_PACKET, id="surrogate"),
        pytest.param("publish", prop(Name.USER_PROPERTY, ("\0", "")), Reason.MALFORMED_PACKET, id="nul_in_a_name"),
        pytest.param("publish", prop(Name.USER_PROPERTY, ("", "\0")), Reason.MALFORMED_PACKET, id="nul_in_a_value"),
        pytest.param("publish", b"\x26\0\1a\0\1\xff", Reason.MALFORMED_PACKET, id="user_property_not_utf8"),
    ],
)
def test_values(packet: str, data: bytes, reason: Reason) -> None:
    """A value that isn't allowed, each with its reason."""
    assert _reason(packet, as_properties(data)) is reason


@pytest.mark.parametrize("length", [b"", b"\2\x01", b"\x80", b"\x80\0", b"\xff\xff\xff\xff\x01"])
def test_length(length: bytes) -> None:
    """Their length is there, as short as it can be, and within the packet."""
    assert _reason("publish", length) is Reason.MALFORMED_PACKET


def test_least() -> None:
    """Without properties there is nothing, and the least limits allow that."""
    found = _read("connect", b"\0", PropertyLimits(max_properties=0, max_property_bytes=0, max_user_properties=0))
    assert not any(name in found for name in Property)
    assert found.get(Property.RECEIVE_MAXIMUM, 7) == 7
    assert found.passed_on == b""


@pytest.mark.parametrize(
    ("data", "bound"),
    [
        pytest.param(
            b"".join(prop(name, EXAMPLES[name]) for name in sorted(ALLOWED["publish"] - {Name.USER_PROPERTY})),
            "max_properties",
            id="number",
        ),
        pytest.param(4 * prop(Name.USER_PROPERTY, ("a", "b")), "max_user_properties", id="user_properties"),
        pytest.param(prop(Name.CONTENT_TYPE, "x" * 298), "max_property_bytes", id="bytes"),
    ],
)
def test_bounds(data: bytes, bound: str) -> None:
    """One more than a limit allows is too much, and the error names the setting."""
    with pytest.raises(MalformedPacketError) as error:
        _read("publish", as_properties(data), LIMITS)
    assert error.value.reason is Reason.QUOTA_EXCEEDED
    assert error.value.bound == bound
    _read("publish", as_properties(data))


def test_up_to_the_bounds() -> None:
    """Exactly as many, and as long, as the limits allow."""
    data = 3 * prop(Name.USER_PROPERTY, ("a", "b")) + prop(Name.PAYLOAD_FORMAT, 1) + prop(Name.MESSAGE_EXPIRY, LONG)
    assert _read("publish", as_properties(data), LIMITS).get(Property.MESSAGE_EXPIRY) == LONG
    _read("publish", as_properties(prop(Name.CONTENT_TYPE, "x" * 297)), LIMITS)


@pytest.mark.parametrize("packet", READERS)
@given(data=st.binary(max_size=60))
def test_anything(packet: str, data: bytes) -> None:
    """Whatever the bytes are, reading raises nothing but its own error."""
    with suppress(MalformedPacketError):
        _read(packet, as_properties(data), LIMITS)


def test_written() -> None:
    """What the server writes is what another implementation writes."""
    values: dict[Property, int | str] = {
        Property.SESSION_EXPIRY: LONG,
        Property.RECEIVE_MAXIMUM: 65_535,
        Property.MAXIMUM_PACKET_SIZE: 1,
        Property.ASSIGNED_CLIENT_ID: "ä",
        Property.TOPIC_ALIAS_MAXIMUM: 16,
        Property.SERVER_KEEP_ALIVE: 60,
        Property.RESPONSE_INFORMATION: "x" * 200,
        Property.REASON_STRING: "",
    }
    assert written(values) == as_properties(*[prop(name, value) for name, value in values.items()])
    assert written({}) == b"\0"
