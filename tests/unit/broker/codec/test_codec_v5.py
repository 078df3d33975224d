"""MQTT 5: every packet but CONNECT read, and every way to be wrong with its reason."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import (
    MQTT_5,
    Codec5,
    Leave,
    MalformedPacketError,
    PropertyLimits,
    Reason,
    SubscriptionOptions,
    TooManyFiltersError,
)
from tests.support import packets as wire
from tests.support.packets import Kind
from tests.support.properties import Name, as_properties, prop
from tests.support.versions import LEVEL_5
from tests.unit.broker.codec.property_values import TEXT, Pairs, encoded, pairs_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.codec.values import PublishHead

MOST = 10
PACKET_IDS = st.integers(1, 65_535)
SHORT = st.binary(max_size=30)
BEFORE, BEHIND = b"\xee\xee", b"\0\1x\1"
"""Something that comes before a body, and behind it."""
OPTIONS = st.builds(
    lambda qos, rest, handling: qos | rest << 2 | handling << 4,
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(0, 2),
)
ACKNOWLEDGEMENT_CODES = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x92, 0x97, 0x99}
ACKNOWLEDGEMENTS = [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP]


def _body(packet: bytes) -> bytes:
    start = 1
    while packet[start] & 0x80:
        start += 1
    return packet[start + 1 :]


def _subscribe(body: bytes, most: int = MOST) -> tuple[int, list[tuple[str, SubscriptionOptions]]]:
    packet_id, pairs = MQTT_5.read_subscribe(BEFORE + body + BEHIND, 2, 2 + len(body), most)
    return packet_id, list(pairs)


def _unsubscribe(body: bytes, most: int = MOST) -> tuple[int, list[str]]:
    packet_id, filters = MQTT_5.read_unsubscribe(BEFORE + body + BEHIND, 2, 2 + len(body), most)
    return packet_id, list(filters)


def _acknowledgement(body: bytes) -> tuple[int, bool]:
    return MQTT_5.read_acknowledgement(BEFORE + body + BEHIND, 2, 2 + len(body))


def _disconnect(body: bytes) -> Leave:
    return MQTT_5.read_disconnect(BEFORE + body + BEHIND, 2, 2 + len(body))


def _publish(packet: bytes, codec: Codec5 = MQTT_5) -> tuple[PublishHead, bytes]:
    """Return what is read of a PUBLISH, and its payload."""
    body = _body(packet)
    data = BEFORE + body + BEHIND
    head = codec.read_publish(packet[0], data, 4 + int.from_bytes(body[:2], "big"), 2 + len(body))
    return head, data[head[2] : 2 + len(body)]


@given(topic=TEXT, payload=SHORT, qos=st.integers(0, 2), number=PACKET_IDS, pairs=pairs_for("publish"))
def test_publish(topic: str, payload: bytes, qos: int, number: int, pairs: Pairs) -> None:
    """What another implementation wrote."""
    packet = wire.publish(topic, payload, qos=qos, number=number, level=LEVEL_5, properties=encoded(pairs))
    (got_qos, packet_id, _, passed_on, expiry, alias), read = _publish(packet)
    assert (got_qos, packet_id, read) == (qos, number if qos else 0, payload)
    said = dict(pairs)
    assert (expiry, alias) == (said.get(Name.MESSAGE_EXPIRY), said.get(Name.TOPIC_ALIAS, 0))
    own = {Name.MESSAGE_EXPIRY, Name.TOPIC_ALIAS}
    assert passed_on == encoded([pair for pair in pairs if pair[0] not in own])


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(wire.packet(3, 0b0110, b"\0\1t\0\1\0x"), id="qos_3"),
        pytest.param(wire.packet(3, 0b1110, b"\0\1t\0\1\0x"), id="qos_3_duplicate"),
        pytest.param(wire.packet(3, 0b1000, b"\0\1t\0x"), id="duplicate_of_qos_0"),
        pytest.param(wire.packet(3, 0b0010, b"\0\1t"), id="no_packet_id"),
        pytest.param(wire.packet(3, 0b0100, b"\0\1t\1"), id="half_a_packet_id"),
        pytest.param(wire.packet(3, 0b0010, b"\0\1t\0\0\0x"), id="packet_id_0"),
        pytest.param(wire.packet(3, 0b0000, b"\0\1t"), id="no_properties"),
        pytest.param(wire.packet(3, 0b0010, b"\0\1t\0\1"), id="no_properties_qos_1"),
        pytest.param(wire.packet(3, 0b0000, b"\0\1t\2\1"), id="properties_longer_than_the_packet"),
    ],
)
def test_publish_malformed(packet: bytes) -> None:
    """Each way to be wrong behind the topic, which the connection reads."""
    with pytest.raises(MalformedPacketError) as error:
        _publish(packet)
    assert error.value.reason is Reason.MALFORMED_PACKET


def test_publish_limits() -> None:
    """The codec's own limits apply, not the default ones."""
    packet = wire.publish("t", level=LEVEL_5, properties=2 * prop(Name.USER_PROPERTY, ("a", "b")))
    _publish(packet)
    with pytest.raises(MalformedPacketError) as error:
        _publish(packet, Codec5(PropertyLimits(max_user_properties=1)))
    assert error.value.reason is Reason.QUOTA_EXCEEDED


@given(PACKET_IDS, st.lists(st.tuples(TEXT, OPTIONS), min_size=1, max_size=MOST), pairs_for("subscribe"))
def test_subscribe(number: int, filters: list[tuple[str, int]], pairs: Pairs) -> None:
    """A packet's filters, in order, each with its options, and the identifier of all."""
    body = _body(wire.subscribe(number, *filters, level=LEVEL_5, properties=encoded(pairs)))
    identifier = dict(pairs).get(Name.SUBSCRIPTION_IDENTIFIER)
    expected = [
        SubscriptionOptions(
            bits & 3,
            no_local=bits & 4 > 0,
            retain_as_published=bits & 8 > 0,
            retain_handling=bits >> 4,
            identifiers=() if identifier is None else (int(str(identifier)),),
        )
        for _, bits in filters
    ]
    assert _subscribe(body) == (number, list(zip([name for name, _ in filters], expected, strict=True)))
    for (_, bits), (_, options) in zip(filters, _subscribe(body)[1], strict=True):
        assert options.packed == bits & ~3
        assert SubscriptionOptions.unpacked(bits & 3, bits, int(str(identifier or 0))) == options


@given(PACKET_IDS, st.lists(TEXT, min_size=1, max_size=MOST), pairs_for("unsubscribe"))
def test_unsubscribe(number: int, filters: list[str], pairs: Pairs) -> None:
    """A packet's filters, in order."""
    body = _body(wire.unsubscribe(number, *filters, level=LEVEL_5, properties=encoded(pairs)))
    assert _unsubscribe(body) == (number, filters)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", Reason.MALFORMED_PACKET, id="empty"),
        pytest.param(b"\1", Reason.MALFORMED_PACKET, id="half_a_packet_id"),
        pytest.param(b"\0\0\0\0\1a\0", Reason.MALFORMED_PACKET, id="packet_id_0"),
        pytest.param(b"\0\1", Reason.MALFORMED_PACKET, id="no_properties"),
        pytest.param(b"\0\1\0", Reason.PROTOCOL_ERROR, id="no_filter"),
        pytest.param(b"\0\1\0\0", Reason.MALFORMED_PACKET, id="half_a_length"),
        pytest.param(b"\0\1\0\0\2a", Reason.MALFORMED_PACKET, id="filter_longer_than_the_packet"),
        pytest.param(b"\0\1\0\0\1a", Reason.MALFORMED_PACKET, id="no_options"),
        pytest.param(b"\0\1\0\0\1a\3", Reason.PROTOCOL_ERROR, id="qos_3"),
        pytest.param(b"\0\1\0\0\1a\x30", Reason.PROTOCOL_ERROR, id="retain_handling_3"),
        pytest.param(b"\0\1\0\0\1a\x41", Reason.MALFORMED_PACKET, id="reserved_bit_6"),
        pytest.param(b"\0\1\0\0\1a\x80", Reason.MALFORMED_PACKET, id="reserved_bit_7"),
        pytest.param(b"\0\1\0\0\x0a$share/g/a\4", Reason.PROTOCOL_ERROR, id="no_local_for_a_shared_one"),
        pytest.param(b"\0\1\0\0\1\xff\0", Reason.MALFORMED_PACKET, id="not_utf8"),
        pytest.param(b"\0\1\0\0\1\0\0", Reason.MALFORMED_PACKET, id="nul"),
        pytest.param(b"\0\1\0\0\1a\0\0\1", Reason.MALFORMED_PACKET, id="second_filter_cut_off"),
        pytest.param(b"\0\1\2\x0b\0\0\1a\0", Reason.PROTOCOL_ERROR, id="identifier_0"),
        pytest.param(b"\0\1\x05\x11\0\0\0\1\0\1a\0", Reason.MALFORMED_PACKET, id="property_of_another_packet"),
    ],
)
def test_subscribe_malformed(body: bytes, reason: Reason) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _subscribe(body)
    assert error.value.reason is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", Reason.MALFORMED_PACKET, id="empty"),
        pytest.param(b"\0\0\0\0\1a", Reason.MALFORMED_PACKET, id="packet_id_0"),
        pytest.param(b"\0\1", Reason.MALFORMED_PACKET, id="no_properties"),
        pytest.param(b"\0\1\0", Reason.PROTOCOL_ERROR, id="no_filter"),
        pytest.param(b"\0\1\0\0\2a", Reason.MALFORMED_PACKET, id="filter_longer_than_the_packet"),
        pytest.param(b"\0\1\0\0\1\xff", Reason.MALFORMED_PACKET, id="not_utf8"),
        pytest.param(b"\0\1\2\x0b\1\0\1a", Reason.MALFORMED_PACKET, id="property_of_another_packet"),
    ],
)
def test_unsubscribe_malformed(body: bytes, reason: Reason) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _unsubscribe(body)
    assert error.value.reason is reason


def test_too_many_filters() -> None:
    """As many as may be are read; the next is refused before it is decoded, for a reason of its own."""
    exactly = [f"f{number}" for number in range(MOST)]
    assert [name for name, _ in _subscribe(_body(wire.subscribe(1, *exactly, level=LEVEL_5)))[1]] == exactly
    assert _unsubscribe(_body(wire.unsubscribe(1, *exactly, level=LEVEL_5))) == (1, exactly)
    for read, body in (
        (_subscribe, wire.subscribe(1, *exactly, b"\xff", level=LEVEL_5)),
        (_unsubscribe, wire.unsubscribe(1, *exactly, b"\xff", level=LEVEL_5)),
    ):
        with pytest.raises(TooManyFiltersError) as error:
            read(_body(body))
        assert error.value.reason is Reason.QUOTA_EXCEEDED


def test_filters_read_one_at_a_time() -> None:
    """What is behind a filter isn't looked at before it is asked for."""
    _, pairs = MQTT_5.read_subscribe(body := b"\0\1\0\0\1a\0\0\1b\3", 0, len(body), MOST)
    assert [topic_filter for topic_filter, _ in islice(pairs, 1)] == ["a"]
    with pytest.raises(MalformedPacketError):
        next(pairs)


@pytest.mark.parametrize("kind", ACKNOWLEDGEMENTS)
@given(
    number=PACKET_IDS,
    reason=st.none() | st.sampled_from(sorted(ACKNOWLEDGEMENT_CODES)),
    pairs=st.none() | pairs_for("acknowledgement"),
)
def test_acknowledgement(kind: Kind, number: int, reason: int | None, pairs: Pairs | None) -> None:
    """Reason code and properties may be left out; from 0x80 on, it says that something failed."""
    packet = wire.acknowledgement(kind, number, reason, None if pairs is None else encoded(pairs))
    assert _acknowledgement(_body(packet)) == (number, reason is None or reason < 0x80)


@pytest.mark.parametrize("code", [0x01, 0x11, 0x7F, 0x81, 0x82, 0x9A, 0xFF])
def test_code_of_another_packet(code: int) -> None:
    """A reason code that no acknowledgement has is a protocol error."""
    with pytest.raises(MalformedPacketError) as error:
        _acknowledgement(bytes([0, 1, code]))
    assert error.value.reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\1", id="half_a_packet_id"),
        pytest.param(b"\0\0", id="packet_id_0"),
        pytest.param(b"\0\1\0\2\x1f\0", id="properties_longer_than_the_packet"),
        pytest.param(b"\0\1\0\0\0", id="bytes_behind_the_properties"),
        pytest.param(b"\0\1\0\2\1\1", id="property_of_another_packet"),
    ],
)
def test_acknowledgement_malformed(body: bytes) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _acknowledgement(body)
    assert error.value.reason is Reason.MALFORMED_PACKET


@given(reason=st.integers(0, 255), pairs=st.none() | pairs_for("disconnect"))
def test_disconnect(reason: int, pairs: Pairs | None) -> None:
    """After success the will is discarded, after any other reason it isn't (3.14.4-3); the session's end may change."""
    body = bytes([reason]) + (b"" if pairs is None else as_properties(encoded(pairs)))
    assert _disconnect(body) == (reason != 0, dict(pairs or ()).get(Name.SESSION_EXPIRY))


def test_disconnect_least() -> None:
    """Nothing is success, and changes nothing."""
    assert _disconnect(b"") == Leave(sends_will=False, session_expiry_seconds=None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"\0\5\x11\0\0\0", Reason.MALFORMED_PACKET, id="properties_longer_than_the_packet"),
        pytest.param(b"\0\0\0", Reason.MALFORMED_PACKET, id="bytes_behind_the_properties"),
        pytest.param(b"\0\3\x21\0\1", Reason.MALFORMED_PACKET, id="property_of_another_packet"),
        pytest.param(b"\0\x0a" + 2 * b"\x11\0\0\0\1", Reason.PROTOCOL_ERROR, id="expiry_twice"),
    ],
)
def test_disconnect_malformed(body: bytes, reason: Reason) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _disconnect(body)
    assert error.value.reason is reason


READS: list[Callable[[bytes], object]] = [_subscribe, _unsubscribe, _acknowledgement, _disconnect]


@pytest.mark.parametrize("read", READS)
@given(body=st.binary(max_size=40))
def test_anything(read: Callable[[bytes], object], body: bytes) -> None:
    """Whatever the bytes are, reading raises nothing but its own error."""
    with suppress(MalformedPacketError):
        read(body)


@given(first=st.integers(0x30, 0x3F), data=st.binary(max_size=40), start=st.integers(0, 40))
def test_anything_behind_a_topic(first: int, data: bytes, start: int) -> None:
    """The same for PUBLISH, of which nothing behind its end is read."""
    start = min(start, len(data))
    with suppress(MalformedPacketError):
        assert start <= MQTT_5.read_publish(first, data + bytes(9), start, len(data))[2] <= len(data)
