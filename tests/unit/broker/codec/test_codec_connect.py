"""Reading CONNECT: what it says, and every way to be wrong (MQTT 3.1.1, 3.1)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleetkey.broker.codec import (
    MQTT_3_1_1,
    Connect,
    MalformedPacketError,
    Reason,
    UnsupportedProtocolError,
    Will,
    read_connect,
)
from tests.support import packets as wire

FIRST = 0x10
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
WILLS = st.builds(wire.Will, topic=TEXT, payload=st.binary(max_size=20), qos=st.integers(0, 2), retain=st.booleans())


def _read(packet: bytes) -> Connect:
    """Read a CONNECT, whose remaining length is one byte."""
    assert packet[1] == len(packet) - 2 <= 127
    codec, connect = read_connect(packet[0], packet, 2, len(packet))
    assert codec is MQTT_3_1_1
    return connect


def test_read_least() -> None:
    """A client id and nothing else."""
    assert _read(wire.connect("", keep_alive_seconds=0)) == Connect(
        client_id="",
        clean_start=True,
        session_expiry_seconds=0,
        keep_alive_seconds=0,
        will=None,
        username=None,
        password=None,
    )


def test_read_everything() -> None:
    """Each field, and no secret in the `repr`."""
    connect = _read(
        wire.connect(
            "c",
            "u",
            b"\xff secret",
            clean=False,
            keep_alive_seconds=65_535,
            will=wire.Will("w", b"hush", 2, retain=True),
        )
    )
    assert connect == Connect(
        client_id="c",
        clean_start=False,
        session_expiry_seconds=None,
        keep_alive_seconds=65_535,
        will=Will(topic="w", payload=b"hush", qos=2, is_retained=True),
        username="u",
        password=b"\xff secret",
    )
    assert connect.is_session_kept
    assert "secret" not in repr(connect)
    assert "hush" not in repr(connect)


@given(
    client_id=TEXT,
    username=st.none() | TEXT,
    password=st.none() | st.binary(max_size=20),
    clean=st.booleans(),
    will=st.none() | WILLS,
    alive=st.integers(0, 65_535),
    before=st.binary(max_size=3),
    after=st.binary(max_size=3),
)
def test_read_written(
    client_id: str,
    username: str | None,
    password: bytes | None,
    will: wire.Will | None,
    alive: int,
    before: bytes,
    after: bytes,
    *,
    clean: bool,
) -> None:
    """What was written is read, wherever in the data it is."""
    password = password if username is not None else None
    body = _body(wire.connect(client_id, username, password, clean=clean, will=will, keep_alive_seconds=alive))
    _, connect = read_connect(FIRST, before + body + after, len(before), len(before) + len(body))
    assert (connect.client_id, connect.username, connect.password) == (client_id, username, password)
    assert (connect.clean_start, connect.keep_alive_seconds) == (clean, alive)
    assert connect.is_session_kept is not clean
    said = connect.will and (connect.will.topic, connect.will.payload, connect.will.qos, connect.will.is_retained)
    assert said == (will and (will.topic, will.payload, will.qos, will.retain))


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(wire.connect_fields(0x03, "c"), id="reserved_flag"),
        pytest.param(wire.connect_fields(0x1E, "c", "w", b""), id="will_qos_3"),
        pytest.param(wire.connect_fields(0x0A, "c"), id="will_qos_without_will"),
        pytest.param(wire.connect_fields(0x22, "c"), id="will_retain_without_will"),
        pytest.param(wire.connect_fields(0x42, "c", b"p"), id="password_without_username"),
        pytest.param(wire.connect_fields(0x06, "c"), id="will_missing"),
        pytest.param(wire.connect_fields(0x06, "c", "w"), id="will_payload_missing"),
        pytest.param(wire.connect_fields(0x82, "c"), id="username_missing"),
        pytest.param(wire.connect_fields(0xC2, "c", "u"), id="password_missing"),
        pytest.param(wire.connect_fields(0x02), id="client_id_missing"),
        pytest.param(wire.connect_fields(0x02, "c", "more"), id="field_behind_the_last"),
        pytest.param(wire.connect_fields(0x02, b"\xff"), id="client_id_not_utf8"),
        pytest.param(wire.connect_fields(0x02, b"\xed\xa0\x80"), id="client_id_surrogate"),
        pytest.param(wire.connect_fields(0x02, "a\0b"), id="client_id_nul"),
        pytest.param(wire.connect_fields(0x06, "c", b"\xff", b""), id="will_topic_not_utf8"),
        pytest.param(wire.connect_fields(0x06, "c", "\0", b""), id="will_topic_nul"),
        pytest.param(wire.connect_fields(0x82, "c", b"\xff"), id="username_not_utf8"),
        pytest.param(wire.connect_fields(0x82, "c", "\0"), id="username_nul"),
        pytest.param(wire.connect_fields(0x02, "c", protocol="MQTX"), id="unknown_protocol"),
        pytest.param(wire.connect_fields(0x02, "c", protocol="mqtt"), id="protocol_in_lower_case"),
        pytest.param(wire.connect_fields(0x02, "c", protocol=""), id="no_protocol"),
        pytest.param(wire.packet(1, 0, b""), id="empty"),
        pytest.param(wire.packet(1, 0, b"\0\4MQTT\4\2\0\0\0\x09c"), id="client_id_longer_than_the_packet"),
        pytest.param(wire.packet(1, 0, b"\0\xffMQTT"), id="protocol_name_longer_than_the_packet"),
        pytest.param(wire.packet(1, 1, _least := wire.connect("c")[2:]), id="flags_of_the_first_byte"),
        pytest.param(wire.packet(3, 0, _least), id="another_packet"),
    ],
)
def test_malformed(packet: bytes) -> None:
    """Each way to be wrong, each with one reason."""
    with pytest.raises(MalformedPacketError) as error:
        _read(packet)
    assert error.value.reason is Reason.MALFORMED_PACKET


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(wire.connect_fields(0x02, "c", protocol="MQIsdp", level=3), id="mqtt_3_1"),
        pytest.param(wire.connect_fields(0x02, "c", level=3), id="level_3"),
        pytest.param(wire.connect_fields(0x02, "c", level=0), id="level_0"),
        pytest.param(wire.connect_fields(0x02, "c", level=0x84), id="bridge"),
        pytest.param(wire.connect_fields(0xFF, "c", level=6), id="of_the_future"),
    ],
)
def test_unsupported(packet: bytes) -> None:
    """MQTT of a version that isn't served is known as such before anything else is read."""
    with pytest.raises(UnsupportedProtocolError):
        _read(packet)


@pytest.mark.parametrize("packet", [wire.connect("c", "u", b"p", will=wire.Will("w", b"x", 1))])
def test_cut_short(packet: bytes) -> None:
    """Wherever it ends too early, it is malformed, whatever comes behind it."""
    body = _body(packet)
    for end in range(len(body)):
        with pytest.raises(MalformedPacketError):
            read_connect(FIRST, body, 0, end)


@given(st.integers(0, 255), st.binary(max_size=60))
@example(FIRST, b"\0\4MQTT\4")
def test_anything(first: int, body: bytes) -> None:
    """Any bytes are a CONNECT, of another version, or malformed."""
    _try(first, body)


@given(st.binary(max_size=40), st.sampled_from([0x02, 0x06, 0x2E, 0x82, 0xC2, 0xEE]))
def test_anything_behind_the_header(rest: bytes, flags: int) -> None:
    """As well if it begins as it should."""
    _try(FIRST, b"\0\4MQTT\4" + bytes([flags]) + b"\0\x3c" + rest)


def _try(first: int, body: bytes) -> None:
    with suppress(MalformedPacketError, UnsupportedProtocolError):
        read_connect(first, body, 0, len(body))


def _body(packet: bytes) -> bytes:
    """Return a packet without its fixed header."""
    start = 1
    while packet[start] & 0x80:
        start += 1
    return packet[start + 1 :]
