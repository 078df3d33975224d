"""Packets of MQTT 5 in the form of MQTT 3.1.1, which is the only one that amqtt's plugins know."""

from __future__ import annotations

from fleetkey.broker.codec import MQTT_3_1_1, Kind, MalformedPacketError
from fleetkey.broker.codec.frame import encode_length
from fleetkey.broker.codec.reader import Reader

__all__ = ["as_mqtt_3_1_1"]

LEVEL, LEVEL_5 = 4, 5
ID_BYTES = 2
REFUSED = 0x80
RETURN_CODES = {0x00: 0, 0x84: 1, 0x85: 2, 0x89: 3, 0x9F: 3}
"""CONNACK's return codes by reason code; for any other, it is 5."""
ACKNOWLEDGEMENTS = frozenset({Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.UNSUBACK})
UNCHANGED = frozenset({Kind.PINGREQ, Kind.PINGRESP})


def as_mqtt_3_1_1(packet: bytes, version: str) -> bytes | None:
    """Return a packet as it would be in MQTT 3.1.1, without its properties; None if it has no such form.

    Args:
        packet: the packet, with its fixed header.
        version: that of its connection, as far as it is known: a CONNECT says its own.
    """
    kind = packet[0] >> 4
    if kind != Kind.CONNECT and version == MQTT_3_1_1.version:
        return packet
    start = 1
    while packet[start] & 0x80:
        start += 1
    try:
        body = _body(kind, packet[0], Reader(packet, start + 1, len(packet)), packet)
    except MalformedPacketError:
        return None
    return None if body is None else packet[:1] + encode_length(len(body)) + body


def _body(kind: int, first: int, reader: Reader, packet: bytes) -> bytes | None:
    if kind == Kind.CONNECT:
        return _connect(reader, packet)
    if kind == Kind.PUBLISH:
        topic = reader.binary()
        if not topic:
            # Only its alias is there.
            return None
        number = reader.number().to_bytes(ID_BYTES, "big") if first & 0x06 else b""
        reader.part()
        return _text(topic) + number + packet[reader.position :]
    if kind == Kind.CONNACK:
        is_present, code = reader.byte(), reader.byte()
        return bytes((is_present, RETURN_CODES.get(code, 5)))
    if kind in ACKNOWLEDGEMENTS:
        return reader.number().to_bytes(ID_BYTES, "big")
    if kind == Kind.DISCONNECT or kind in UNCHANGED:
        return b""
    if kind in {Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.SUBACK}:
        number = reader.number().to_bytes(ID_BYTES, "big")
        reader.part()
        return number + _rest(kind, reader, packet)
    return None


def _connect(reader: Reader, packet: bytes) -> bytes:
    name, level, flags, keep_alive = reader.binary(), reader.byte(), reader.byte(), reader.number()
    if level != LEVEL_5:
        return _text(name) + bytes((level, flags)) + keep_alive.to_bytes(2, "big") + packet[reader.position :]
    reader.part()
    fields = [reader.binary()]
    if flags & 0x04:
        reader.part()
        fields += [reader.binary(), reader.binary()]
    head = _text(name) + bytes((LEVEL, flags)) + keep_alive.to_bytes(2, "big")
    return head + b"".join(map(_text, fields)) + packet[reader.position :]


def _rest(kind: int, reader: Reader, packet: bytes) -> bytes:
    if kind == Kind.SUBACK:
        return bytes([min(code, REFUSED) for code in packet[reader.position :]])
    found = bytearray()
    while not reader.is_at_end:
        found += _text(reader.binary())
        if kind == Kind.SUBSCRIBE:
            # The QoS, without the options that only version 5 has.
            found.append(reader.byte() & 3)
    return bytes(found)


def _text(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content
