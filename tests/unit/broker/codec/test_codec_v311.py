"""MQTT 3.1.1: every packet but CONNECT read and written, and every way to be wrong."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import (
    MQTT_3_1_1,
    Kind,
    MalformedPacketError,
    Reason,
    SubscriptionOptions,
    TooManyFiltersError,
)
from tests.support import packets as wire

CODEC = MQTT_3_1_1
MOST = 10
PACKET_IDS = st.integers(1, 65_535)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PAIRS = st.lists(st.tuples(TEXT, st.integers(0, 2)), min_size=1, max_size=MOST)
SHORT = st.binary(max_size=30)
BEFORE = b"\xee\xee"
"""Something that comes before a body."""


def _body(packet: bytes) -> bytes:
    start = 1
    while packet[start] & 0x80:
        start += 1
    return packet[start + 1 :]


def _subscribe(body: bytes, most: int = MOST) -> tuple[int, list[tuple[str, int]]]:
    packet_id, pairs = CODEC.read_subscribe(BEFORE + body + b"\0\1x\1", 2, 2 + len(body), most)
    return packet_id, [(topic_filter, options.qos) for topic_filter, options in pairs]


def _unsubscribe(body: bytes, most: int = MOST) -> tuple[int, list[str]]:
    packet_id, filters = CODEC.read_unsubscribe(BEFORE + body + b"\0\1x", 2, 2 + len(body), most)
    return packet_id, list(filters)


def _publish(packet: bytes) -> tuple[int, int, bytes]:
    body = _body(packet)
    topic_end = 2 + int.from_bytes(body[:2], "big")
    qos, packet_id, payload_at, *others = CODEC.read_publish(packet[0], body, topic_end, len(body))
    assert others == [b"", None, 0]
    return qos, packet_id, body[payload_at:]


@given(topic=TEXT, payload=SHORT, qos=st.integers(0, 2), packet_id=PACKET_IDS, retain=st.booleans(), dup=st.booleans())
def test_publish(topic: str, payload: bytes, qos: int, packet_id: int, *, retain: bool, dup: bool) -> None:
    """What is written is as another implementation writes it, and is read back the same."""
    packet_id, dup = (packet_id, dup) if qos else (0, False)
    written = CODEC.publish(topic.encode(), payload, qos=qos, packet_id=packet_id, is_retained=retain, is_duplicate=dup)
    assert written == wire.publish(topic, payload, qos=qos, number=packet_id, retain=retain, dup=dup)
    assert _publish(written) == (qos, packet_id, payload)


@pytest.mark.parametrize("size", [0, 121, 122, 123, 124, 16_377, 16_378, 16_379, 16_380, 70_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_publish_length(qos: int, size: int) -> None:
    """The remaining length is right where it takes one byte more."""
    assert CODEC.publish(b"t", bytes(size), qos=qos, packet_id=qos) == wire.publish("t", bytes(size), qos=qos)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(wire.packet(3, 0b0110, b"\0\1t\0\1x"), id="qos_3"),
        pytest.param(wire.packet(3, 0b1110, b"\0\1t\0\1x"), id="qos_3_duplicate"),
        pytest.param(wire.packet(3, 0b1000, b"\0\1tx"), id="duplicate_of_qos_0"),
        pytest.param(wire.packet(3, 0b1001, b"\0\1tx"), id="duplicate_of_qos_0_retained"),
        pytest.param(wire.packet(3, 0b0010, b"\0\1t"), id="no_packet_id"),
        pytest.param(wire.packet(3, 0b0100, b"\0\1t\1"), id="half_a_packet_id"),
        pytest.param(wire.packet(3, 0b0010, b"\0\1t\0\0x"), id="packet_id_0"),
    ],
)
def test_publish_malformed(packet: bytes) -> None:
    """Each way to be wrong behind the topic, which the connection reads."""
    with pytest.raises(MalformedPacketError):
        _publish(packet)


def test_publish_id_of_the_next_packet() -> None:
    """A packet identifier is never read from behind the packet's end."""
    with pytest.raises(MalformedPacketError):
        CODEC.read_publish(0x32, b"\0\1t\0\1", 3, 3)


@given(PACKET_IDS, PAIRS)
def test_subscribe(packet_id: int, pairs: list[tuple[str, int]]) -> None:
    """A packet's filters, in order, each with its QoS."""
    assert _subscribe(_body(wire.subscribe(packet_id, *pairs))) == (packet_id, pairs)


@given(PACKET_IDS, st.lists(TEXT, min_size=1, max_size=MOST))
def test_unsubscribe(packet_id: int, filters: list[str]) -> None:
    """A packet's filters, in order."""
    assert _unsubscribe(_body(wire.unsubscribe(packet_id, *filters))) == (packet_id, filters)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\1", id="half_a_packet_id"),
        pytest.param(b"\0\0\0\1a\0", id="packet_id_0"),
        pytest.param(b"\0\1", id="no_filter"),
        pytest.param(b"\0\1\0", id="half_a_length"),
        pytest.param(b"\0\1\0\2a", id="filter_longer_than_the_packet"),
        pytest.param(b"\0\1\0\1a", id="no_qos"),
        pytest.param(b"\0\1\0\1a\3", id="qos_3"),
        pytest.param(b"\0\1\0\1a\x81", id="reserved_bits_of_qos"),
        pytest.param(b"\0\1\0\1\xff\0", id="not_utf8"),
        pytest.param(b"\0\1\0\1\0\0", id="nul"),
        pytest.param(b"\0\1\0\1a\0\0\1", id="second_filter_cut_off"),
    ],
)
def test_subscribe_malformed(body: bytes) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _subscribe(body)
    assert error.value.reason is Reason.MALFORMED_PACKET


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\0\1a", id="packet_id_0"),
        pytest.param(b"\0\1", id="no_filter"),
        pytest.param(b"\0\1\0\2a", id="filter_longer_than_the_packet"),
        pytest.param(b"\0\1\0\1\xff", id="not_utf8"),
        pytest.param(b"\0\1\0\1\0", id="nul"),
        pytest.param(b"\0\1\0\1a\0", id="second_filter_cut_off"),
    ],
)
def test_unsubscribe_malformed(body: bytes) -> None:
    """Each way to be wrong."""
    with pytest.raises(MalformedPacketError) as error:
        _unsubscribe(body)
    assert error.value.reason is Reason.MALFORMED_PACKET


def test_too_many_filters() -> None:
    """As many as may be are read; the next is refused before it is decoded, for a reason of its own."""
    exactly = [(f"f{number}", 1) for number in range(MOST)]
    assert _subscribe(_body(wire.subscribe(1, *exactly))) == (1, exactly)
    assert _unsubscribe(_body(wire.unsubscribe(1, *dict(exactly)))) == (1, list(dict(exactly)))
    with pytest.raises(TooManyFiltersError) as error:
        _subscribe(_body(wire.subscribe(1, *exactly, (b"\xff", 3))))
    assert error.value.reason is Reason.QUOTA_EXCEEDED
    with pytest.raises(TooManyFiltersError):
        _unsubscribe(_body(wire.unsubscribe(1, *dict(exactly), b"\xff")))


def test_filters_read_one_at_a_time() -> None:
    """What is behind a filter isn't looked at before it is asked for."""
    _, pairs = CODEC.read_subscribe(body := b"\0\1\0\1a\0\0\1b\3", 0, len(body), MOST)
    assert [topic_filter for topic_filter, _ in islice(pairs, 1)] == ["a"]
    with pytest.raises(MalformedPacketError):
        next(pairs)


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP])
@given(packet_id=PACKET_IDS)
def test_acknowledgement(kind: Kind, packet_id: int) -> None:
    """Each is nothing but its packet identifier; PUBREL has a flag."""
    written = CODEC.acknowledgement(kind, packet_id)
    assert written == wire.acknowledgement(wire.Kind(kind), packet_id)
    assert CODEC.read_acknowledgement(written, 2, 4) == (packet_id, True)


@pytest.mark.parametrize("body", [b"", b"\1", b"\0\1\0"])
def test_acknowledgement_malformed(body: bytes) -> None:
    """Shorter or longer than a packet identifier."""
    with pytest.raises(MalformedPacketError):
        CODEC.read_acknowledgement(BEFORE + body, 2, 2 + len(body))


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.SUCCESS, 0),
        (Reason.UNSUPPORTED_PROTOCOL, 1),
        (Reason.INVALID_CLIENT_ID, 2),
        (Reason.SERVER_BUSY, 3),
        (Reason.NOT_AUTHORIZED, 5),
    ],
)
def test_connack(reason: Reason, code: int) -> None:
    """The codes of the standard; only who is let in hears of a session (3.2.2-4)."""
    assert CODEC.connack(reason) == bytes([0x20, 2, 0, code])
    assert CODEC.connack(reason, is_session_present=True) == bytes([0x20, 2, int(code == 0), code])


@given(PACKET_IDS, st.lists(st.none() | st.integers(0, 2), min_size=1, max_size=200))
def test_suback(packet_id: int, granted: list[int | None]) -> None:
    """A code for each filter, in order: what was granted, or 0x80."""
    answers = [Reason.NOT_AUTHORIZED if qos is None else SubscriptionOptions(qos) for qos in granted]
    codes = bytes(0x80 if qos is None else qos for qos in granted)
    assert CODEC.suback(packet_id, answers) == wire.packet(Kind.SUBACK, 0, packet_id.to_bytes(2, "big") + codes)


@given(PACKET_IDS)
def test_unsuback(packet_id: int) -> None:
    """Nothing but the packet identifier."""
    assert CODEC.unsuback(packet_id, []) == wire.packet(Kind.UNSUBACK, 0, packet_id.to_bytes(2, "big"))


@pytest.mark.parametrize("reason", list(Reason))
def test_disconnect(reason: Reason) -> None:
    """A 3.1.1 server closes without a word."""
    assert CODEC.disconnect(reason) == b""


@given(data=st.binary(max_size=40), start=st.integers(0, 40), end=st.integers(0, 40), most=st.integers(0, 3))
def test_anything(data: bytes, start: int, end: int, most: int) -> None:
    """Whatever the bytes are, reading raises nothing but its own error."""
    end = min(end, len(data))
    start = min(start, end)
    with suppress(MalformedPacketError):
        CODEC.read_acknowledgement(data, start, end)
    with suppress(MalformedPacketError):
        list(CODEC.read_subscribe(data, start, end, most)[1])
    with suppress(MalformedPacketError):
        list(CODEC.read_unsubscribe(data, start, end, most)[1])
    for flags in range(16):
        with suppress(MalformedPacketError):
            CODEC.read_publish(0x30 | flags, data, start, end)
