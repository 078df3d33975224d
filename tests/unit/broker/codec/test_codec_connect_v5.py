"""Reading CONNECT of MQTT 5: what it says, and every way to be wrong (3.1)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import (
    MQTT_5,
    Codec5,
    Connect,
    MalformedPacketError,
    PeerLimits,
    PropertyLimits,
    Reason,
    UnsupportedProtocolError,
    Will,
    read_connect,
)
from fleetkey.broker.codec.values import LONGEST_PACKET, NO_END
from tests.support import packets as wire
from tests.support.properties import Name, as_properties, prop
from tests.support.versions import LEVEL_5
from tests.unit.broker.codec.property_values import TEXT, Pairs, encoded, pairs_for

FIRST = 0x10
UNLIMITED = Codec5(PropertyLimits(max_properties=1_000, max_property_bytes=100_000, max_user_properties=1_000))
NONE = as_properties()


def _read(packet: bytes, codec: Codec5 = MQTT_5) -> Connect:
    start = 1
    while packet[start] & 0x80:
        start += 1
    data = packet + b"\xee"
    return read_connect(packet[0], data, start + 1, len(packet), codec)[1]


def _fields(flags: int, *fields: str | bytes, properties: bytes = NONE) -> bytes:
    return wire.connect_fields(flags, *fields, level=LEVEL_5, properties=properties)


def test_least() -> None:
    """A client id and nothing else: the session ends with the connection, and everything is as by default."""
    codec, connect = read_connect(FIRST, body := wire.connect("", level=LEVEL_5)[2:], 0, len(body))
    assert codec is MQTT_5
    assert connect == Connect(
        client_id="",
        clean_start=True,
        session_expiry_seconds=0,
        keep_alive_seconds=60,
        will=None,
        username=None,
        password=None,
        peer=PeerLimits(),
        is_mqtt_5=True,
    )
    assert not connect.is_session_kept
    assert connect.peer.wants_problem_information
    assert not connect.peer.wants_response_information


@given(
    client_id=TEXT,
    username=st.none() | TEXT,
    password=st.none() | st.binary(max_size=20),
    clean=st.booleans(),
    alive=st.integers(0, 65_535),
    pairs=pairs_for("connect"),
)
def test_read_written(
    client_id: str, username: str | None, password: bytes | None, alive: int, pairs: Pairs, *, clean: bool
) -> None:
    """What another implementation wrote; a password may come without a user name (3.1.2.9)."""
    said = dict(pairs)
    if Name.SESSION_EXPIRY not in said:
        # `wire.connect` would add one.
        pairs.append((Name.SESSION_EXPIRY, 0))
    if Name.AUTHENTICATION_METHOD not in said:
        pairs = [pair for pair in pairs if pair[0] != Name.AUTHENTICATION_DATA]
    connect = _read(
        wire.connect(
            *(client_id, username, password),
            clean=clean,
            keep_alive_seconds=alive,
            level=LEVEL_5,
            properties=encoded(pairs),
        ),
        UNLIMITED,
    )
    expiry = said.get(Name.SESSION_EXPIRY, 0)
    assert connect == Connect(
        client_id=client_id,
        clean_start=clean,
        session_expiry_seconds=None if expiry == NO_END else int(str(expiry)),
        keep_alive_seconds=alive,
        will=None,
        username=username,
        password=password,
        peer=PeerLimits(
            receive_maximum=int(str(said.get(Name.RECEIVE_MAXIMUM, 65_535))),
            max_packet_bytes=int(str(said.get(Name.MAXIMUM_PACKET_SIZE, LONGEST_PACKET))),
            topic_alias_maximum=int(str(said.get(Name.TOPIC_ALIAS_MAXIMUM, 0))),
            wants_problem_information=bool(said.get(Name.REQUEST_PROBLEM, 1)),
            wants_response_information=bool(said.get(Name.REQUEST_RESPONSE, 0)),
        ),
        authentication_method=said.get(Name.AUTHENTICATION_METHOD),  # type: ignore[arg-type] # a text
        is_mqtt_5=True,
    )


@given(
    topic=TEXT,
    payload=st.binary(max_size=20),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    pairs=pairs_for("will"),
)
def test_will(topic: str, payload: bytes, qos: int, pairs: Pairs, *, retain: bool) -> None:
    """A will with its properties; what goes on to receivers is kept as it came."""
    will = wire.Will(topic, payload, qos, retain=retain, properties=encoded(pairs))
    connect = _read(wire.connect("c", will=will, level=LEVEL_5), UNLIMITED)
    said, own = dict(pairs), {Name.WILL_DELAY, Name.MESSAGE_EXPIRY}
    assert connect.will == Will(
        topic=topic,
        payload=payload,
        qos=qos,
        is_retained=retain,
        properties=encoded([pair for pair in pairs if pair[0] not in own]),
        expiry_seconds=said.get(Name.MESSAGE_EXPIRY),  # type: ignore[arg-type] # a number
        delay_seconds=int(str(said.get(Name.WILL_DELAY, 0))),
    )


def test_no_secrets_in_repr() -> None:
    """Neither the password nor anything of the will is in it, its properties included."""
    own = prop(Name.USER_PROPERTY, ("hush", "hush"))
    connect = _read(wire.connect("c", "u", b"hush", will=wire.Will("w", b"hush", properties=own), level=LEVEL_5))
    assert "hush" not in repr(connect)


@pytest.mark.parametrize("seconds", [0, 1, 604_800, NO_END - 1, NO_END])
def test_session_expiry(seconds: int) -> None:
    """0 ends the session with the connection, the largest number never; clean start has no part in it."""
    for clean in (False, True):
        packet = wire.connect("c", clean=clean, level=LEVEL_5, properties=prop(Name.SESSION_EXPIRY, seconds))
        connect = _read(packet)
        assert connect.session_expiry_seconds == (None if seconds == NO_END else seconds)
        assert connect.is_session_kept is (seconds > 0)
        assert connect.clean_start is clean


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(_fields(0x03, "c"), Reason.MALFORMED_PACKET, id="reserved_flag"),
        pytest.param(_fields(0x1E, "c", NONE, "w", b""), Reason.MALFORMED_PACKET, id="will_qos_3"),
        pytest.param(_fields(0x0A, "c"), Reason.MALFORMED_PACKET, id="will_qos_without_will"),
        pytest.param(_fields(0x22, "c"), Reason.MALFORMED_PACKET, id="will_retain_without_will"),
        pytest.param(_fields(0x06, "c"), Reason.MALFORMED_PACKET, id="will_missing"),
        pytest.param(_fields(0x02), Reason.MALFORMED_PACKET, id="client_id_missing"),
        pytest.param(_fields(0x02, "c", "more"), Reason.MALFORMED_PACKET, id="field_behind_the_last"),
        pytest.param(_fields(0x02, properties=b""), Reason.MALFORMED_PACKET, id="no_properties"),
        pytest.param(_fields(0x02, properties=b"\5\x11\0\0"), Reason.MALFORMED_PACKET, id="properties_too_long"),
        pytest.param(_fields(0x02, b"\xff"), Reason.MALFORMED_PACKET, id="client_id_not_utf8"),
        pytest.param(_fields(0x82, "c", "\0"), Reason.MALFORMED_PACKET, id="username_nul"),
        pytest.param(
            _fields(0x02, "c", properties=as_properties(prop(Name.AUTHENTICATION_DATA, b"x"))),
            Reason.PROTOCOL_ERROR,
            id="authentication_data_without_method",
        ),
        pytest.param(
            _fields(0x02, "c", properties=as_properties(prop(Name.RECEIVE_MAXIMUM, 0))),
            Reason.PROTOCOL_ERROR,
            id="receive_maximum_0",
        ),
        pytest.param(
            _fields(0x02, "c", properties=as_properties(prop(Name.WILL_DELAY, 1))),
            Reason.MALFORMED_PACKET,
            id="will_property_outside_of_the_will",
        ),
        pytest.param(
            wire.connect("c", will=wire.Will("w", properties=prop(Name.SESSION_EXPIRY, 1)), level=LEVEL_5),
            Reason.MALFORMED_PACKET,
            id="connect_property_in_the_will",
        ),
        pytest.param(
            wire.connect("c", will=wire.Will("w", properties=2 * prop(Name.WILL_DELAY, 1)), level=LEVEL_5),
            Reason.PROTOCOL_ERROR,
            id="will_delay_twice",
        ),
        pytest.param(
            wire.connect("c", level=LEVEL_5, properties=65 * prop(Name.USER_PROPERTY, ("", ""))),
            Reason.QUOTA_EXCEEDED,
            id="too_many_user_properties",
        ),
        pytest.param(
            wire.connect("c", will=wire.Will("w", properties=65 * prop(Name.USER_PROPERTY, ("", ""))), level=LEVEL_5),
            Reason.QUOTA_EXCEEDED,
            id="too_many_user_properties_in_the_will",
        ),
    ],
)
def test_malformed(packet: bytes, reason: Reason) -> None:
    """Each way to be wrong, each with its reason."""
    with pytest.raises(MalformedPacketError) as error:
        _read(packet)
    assert error.value.reason is reason


def test_cut_short() -> None:
    """Wherever it ends too early, it is malformed, whatever comes behind it."""
    will = wire.Will("w", b"x", 1, properties=prop(Name.WILL_DELAY, 5))
    own = prop(Name.SESSION_EXPIRY, 5) + prop(Name.USER_PROPERTY, ("a", "b"))
    body = wire.connect("c", "u", b"p", will=will, level=LEVEL_5, properties=own)[2:]
    for end in range(len(body)):
        with pytest.raises(MalformedPacketError):
            read_connect(FIRST, body, 0, end)


@given(st.binary(max_size=60), st.sampled_from([0x02, 0x06, 0x2E, 0x42, 0x82, 0xC2, 0xEE]))
def test_anything_behind_the_header(rest: bytes, flags: int) -> None:
    """Any bytes are a CONNECT or malformed."""
    body = b"\0\4MQTT\5" + bytes([flags]) + b"\0\x3c" + rest
    with suppress(MalformedPacketError):
        read_connect(FIRST, body, 0, len(body))


@pytest.mark.parametrize("level", [3, 6])
def test_other_levels(level: int) -> None:
    """Neither the version before both that are served nor the one after is read as 5."""
    with pytest.raises(UnsupportedProtocolError):
        _read(wire.connect_fields(0x02, "c", level=level, properties=NONE))
