"""CONNECT, which determines the protocol version of all other packets (MQTT 3.1.1, 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec.errors import MalformedPacketError, UnsupportedProtocolError
from fleetkey.broker.codec.reader import Reader
from fleetkey.broker.codec.v311 import MQTT_3_1_1
from fleetkey.broker.codec.values import EXACTLY_ONCE, Connect, Kind, Will

if TYPE_CHECKING:
    from fleetkey.broker.codec.codec import Codec

__all__ = ["read_connect"]

PROTOCOL_NAME = b"MQTT"
OLDER_PROTOCOL_NAME = b"MQIsdp"
MQTT_5 = 5
"""The protocol level from which packets have properties (MQTT 5.0, 2.2.2)."""
CODECS: dict[int, Codec] = {4: MQTT_3_1_1}
"""By protocol level (3.1.2.2)."""


def read_connect(first: int, data: bytes, start: int, end: int) -> tuple[Codec, Connect]:
    """Read a CONNECT; return the codec of its version, and its content.

    Raises:
        UnsupportedProtocolError: the MQTT version isn't supported.
        MalformedPacketError: the packet violates the standard.
    """
    if first != Kind.CONNECT << 4:
        msg = "the first packet is not a CONNECT"
        raise MalformedPacketError(msg)
    reader = Reader(data, start, end)
    name, level = reader.binary(), reader.byte()
    if name == OLDER_PROTOCOL_NAME or (name == PROTOCOL_NAME and level not in CODECS):
        raise UnsupportedProtocolError(level, *_claims_of_other_versions(reader, has_properties=level >= MQTT_5))
    if name != PROTOCOL_NAME:
        msg = "unknown protocol name"
        raise MalformedPacketError(msg)
    return CODECS[level], _read_fields(reader)


def _read_fields(reader: Reader) -> Connect:
    flags = reader.byte()
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    has_username, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 0x01 or will_qos > EXACTLY_ONCE or (not has_will and (will_qos or will_retain)):
        msg = "reserved or contradictory CONNECT flags"
        raise MalformedPacketError(msg)
    if has_password and not has_username:
        msg = "a password without a user name"
        raise MalformedPacketError(msg)
    is_clean = bool(flags & 0x02)
    keep_alive = reader.number()
    client_id = reader.text()
    will = None
    if has_will:
        will = Will(topic=reader.text(), payload=reader.binary(), qos=will_qos, is_retained=will_retain)
    username = reader.text() if has_username else None
    password = reader.binary() if has_password else None
    if not reader.is_at_end:
        msg = "bytes after the last field of CONNECT"
        raise MalformedPacketError(msg)
    return Connect(
        client_id=client_id,
        clean_start=is_clean,
        # 3.1.2.4: one flag determines both.
        session_expiry_seconds=0 if is_clean else None,
        keep_alive_seconds=keep_alive,
        will=will,
        username=username,
        password=password,
    )


def _claims_of_other_versions(reader: Reader, *, has_properties: bool) -> tuple[str | None, str | None]:
    """Return the client id and the user name, so that an operator learns whose client it is; None if malformed."""
    client_id = None
    try:
        flags = reader.byte()
        reader.number()
        if has_properties:
            reader.skip_properties()
        client_id = reader.text()
        if flags & 0x04:
            if has_properties:
                reader.skip_properties()
            reader.binary()
            reader.binary()
        return client_id, reader.text() if flags & 0x80 else None
    except MalformedPacketError:
        return client_id, None
