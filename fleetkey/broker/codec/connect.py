"""CONNECT, which determines the protocol version of all other packets (MQTT 3.1.1, 3.1; MQTT 5.0, 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec.errors import MalformedPacketError, ProtocolError, UnsupportedProtocolError
from fleetkey.broker.codec.properties import NO_PROPERTIES, OF_CONNECT, OF_WILL, Property, read_properties
from fleetkey.broker.codec.reader import Reader
from fleetkey.broker.codec.v5 import MQTT_5, Codec5, codec_for
from fleetkey.broker.codec.v311 import MQTT_3_1_1
from fleetkey.broker.codec.values import (
    EXACTLY_ONCE,
    LONGEST_PACKET,
    MOST_PACKET_IDS,
    NO_END,
    NO_LIMITS,
    Connect,
    Kind,
    PeerLimits,
    Will,
)

if TYPE_CHECKING:
    from fleetkey.broker.codec.codec import Codec
    from fleetkey.broker.codec.properties import PropertySet

__all__ = ["read_connect"]

PROTOCOL_NAME = b"MQTT"
OLDER_PROTOCOL_NAME = b"MQIsdp"
LEVEL_3_1_1, LEVEL_5 = 4, 5
"""The protocol levels (3.1.2.2)."""


def read_connect(first: int, data: bytes, start: int, end: int, mqtt_5: Codec5 = MQTT_5) -> tuple[Codec, Connect]:
    """Read a CONNECT; return the codec for its client, and its content.

    Args:
        first: the packet's first byte.
        data: has its body, from `start` to `end`.
        start: see `data`.
        end: see `data`.
        mqtt_5: the codec of version 5, with the limits on properties.

    Raises:
        UnsupportedProtocolError: the MQTT version isn't supported.
        MalformedPacketError: the packet violates the standard.
    """
    if first != Kind.CONNECT << 4:
        msg = "the first packet is not a CONNECT"
        raise MalformedPacketError(msg)
    reader = Reader(data, start, end)
    name, level = reader.binary(), reader.byte()
    if name == OLDER_PROTOCOL_NAME or (name == PROTOCOL_NAME and level not in (LEVEL_3_1_1, LEVEL_5)):
        raise UnsupportedProtocolError(level, *_claims_of_other_versions(reader, has_properties=level >= LEVEL_5))
    if name != PROTOCOL_NAME:
        msg = "unknown protocol name"
        raise MalformedPacketError(msg)
    if level == LEVEL_3_1_1:
        return MQTT_3_1_1, _read_fields(reader, None)
    connect = _read_fields(reader, mqtt_5)
    return codec_for(connect.peer, mqtt_5), connect


def _read_fields(reader: Reader, mqtt_5: Codec5 | None) -> Connect:
    """Read the fields after the level; `mqtt_5` if it is of version 5."""
    flags = reader.byte()
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    has_username, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 0x01 or will_qos > EXACTLY_ONCE or (not has_will and (will_qos or will_retain)):
        msg = "reserved or contradictory CONNECT flags"
        raise MalformedPacketError(msg)
    if has_password and not has_username and mqtt_5 is None:
        msg = "a password without a user name"
        raise MalformedPacketError(msg)
    is_clean = bool(flags & 0x02)
    keep_alive = reader.number()
    properties = read_properties(reader, OF_CONNECT, mqtt_5.limits) if mqtt_5 is not None else NO_PROPERTIES
    client_id = reader.text()
    will = _read_will(reader, will_qos, mqtt_5, is_retained=will_retain) if has_will else None
    username = reader.text() if has_username else None
    password = reader.binary() if has_password else None
    if not reader.is_at_end:
        msg = "bytes after the last field of CONNECT"
        raise MalformedPacketError(msg)
    if mqtt_5 is None:
        # MQTT 3.1.1, 3.1.2.4: one flag determines both.
        expiry = 0 if is_clean else None
    else:
        expiry = properties.get(Property.SESSION_EXPIRY, 0)
        expiry = None if expiry == NO_END else expiry
        if Property.AUTHENTICATION_DATA in properties and Property.AUTHENTICATION_METHOD not in properties:
            msg = "authentication data without a method"
            raise ProtocolError(msg)
    return Connect(
        client_id=client_id,
        clean_start=is_clean,
        session_expiry_seconds=expiry,
        keep_alive_seconds=keep_alive,
        will=will,
        username=username,
        password=password,
        peer=NO_LIMITS if properties is NO_PROPERTIES else _peer_of(properties),
        authentication_method=properties.get(Property.AUTHENTICATION_METHOD),
        is_mqtt_5=mqtt_5 is not None,
    )


def _peer_of(properties: PropertySet) -> PeerLimits:
    return PeerLimits(
        receive_maximum=properties.get(Property.RECEIVE_MAXIMUM, MOST_PACKET_IDS),
        max_packet_bytes=properties.get(Property.MAXIMUM_PACKET_SIZE, LONGEST_PACKET),
        topic_alias_maximum=properties.get(Property.TOPIC_ALIAS_MAXIMUM, 0),
        wants_problem_information=properties.get(Property.REQUEST_PROBLEM_INFORMATION, True),
        wants_response_information=properties.get(Property.REQUEST_RESPONSE_INFORMATION, False),
    )


def _read_will(reader: Reader, qos: int, mqtt_5: Codec5 | None, *, is_retained: bool) -> Will:
    properties = read_properties(reader, OF_WILL, mqtt_5.limits) if mqtt_5 is not None else NO_PROPERTIES
    return Will(
        topic=reader.text(),
        payload=reader.binary(),
        qos=qos,
        is_retained=is_retained,
        properties=properties.passed_on,
        expiry_seconds=properties.get(Property.MESSAGE_EXPIRY),
        delay_seconds=properties.get(Property.WILL_DELAY, 0),
    )


def _claims_of_other_versions(reader: Reader, *, has_properties: bool) -> tuple[str | None, str | None]:
    """Return the client id and the user name, so that an operator learns whose client it is; None if malformed."""
    client_id = None
    try:
        flags = reader.byte()
        reader.number()
        if has_properties:
            reader.part()
        client_id = reader.text()
        if flags & 0x04:
            if has_properties:
                reader.part()
            reader.binary()
            reader.binary()
        return client_id, reader.text() if flags & 0x80 else None
    except MalformedPacketError:
        return client_id, None
