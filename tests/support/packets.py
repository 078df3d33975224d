"""MQTT 3.1.1 packets as bytes, right or wrong, for clients that do exactly what a test says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "DISCONNECT",
    "PINGREQ",
    "Kind",
    "Packet",
    "Publication",
    "Will",
    "acknowledgement",
    "connect",
    "connect_fields",
    "number_of",
    "packet",
    "publication_of",
    "publish",
    "subscribe",
    "text",
    "unsubscribe",
]

CLEAN, WILL, WILL_RETAIN, WITH_PASSWORD, WITH_USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
LEVEL_OF_MQTT_5 = 5


class Kind(IntEnum):
    """Types of control packets (2.2.1)."""

    CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
    SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)


@dataclass(frozen=True, slots=True)
class Packet:
    """A control packet as it came."""

    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Will:
    """A last will."""

    topic: str | bytes
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """A PUBLISH that came in; the packet id is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    number: int


def packet(kind: int, flags: int, body: bytes) -> bytes:
    """Put a fixed header before a body (2.2)."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | 0x80 if length else digit)
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def text(value: str | bytes) -> bytes:
    """Put a length of two bytes before a string (1.5.3)."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


PINGREQ, DISCONNECT = packet(Kind.PINGREQ, 0, b""), packet(Kind.DISCONNECT, 0, b"")


def connect_fields(
    flags: int,
    *fields: str | bytes,
    protocol: str | bytes = "MQTT",
    level: int = 4,
    keep_alive_seconds: int = 60,
    properties: bytes = b"",
) -> bytes:
    """Return a CONNECT with any flags and any length-prefixed fields after them, whether they fit or not."""
    header = text(protocol) + bytes([level, flags]) + keep_alive_seconds.to_bytes(2, "big") + properties
    return packet(Kind.CONNECT, 0, header + b"".join(map(text, fields)))


def connect(
    client_id: str | bytes,
    username: str | bytes | None = None,
    password: str | bytes | None = None,
    *,
    clean: bool = True,
    will: Will | None = None,
    protocol: str | bytes = "MQTT",
    level: int = 4,
    keep_alive_seconds: int = 60,
) -> bytes:
    """Return a CONNECT (3.1); level 5 has an empty list of properties."""
    flags, fields = CLEAN if clean else 0, [client_id]
    if will is not None:
        flags |= WILL | will.qos << 3 | (WILL_RETAIN if will.retain else 0)
        fields += [will.topic, will.payload]
    for flag, field in (WITH_USERNAME, username), (WITH_PASSWORD, password):
        if field is not None:
            flags |= flag
            fields.append(field)
    return connect_fields(
        flags,
        *fields,
        protocol=protocol,
        level=level,
        keep_alive_seconds=keep_alive_seconds,
        properties=b"\0" if level == LEVEL_OF_MQTT_5 else b"",
    )


def publish(
    topic: str | bytes, payload: bytes = b"x", *, qos: int = 0, number: int = 1, retain: bool = False, dup: bool = False
) -> bytes:
    """Return a PUBLISH (3.3); the packet id is left out at QoS 0."""
    identifier = number.to_bytes(2, "big") if qos else b""
    return packet(Kind.PUBLISH, dup << 3 | qos << 1 | retain, text(topic) + identifier + payload)


def subscribe(number: int, *filters: str | bytes | tuple[str | bytes, int], qos: int = 0) -> bytes:
    """Return a SUBSCRIBE (3.8) of filters; one that comes as a pair has a QoS of its own."""
    pairs = (each if isinstance(each, tuple) else (each, qos) for each in filters)
    return packet(Kind.SUBSCRIBE, 2, number.to_bytes(2, "big") + b"".join(text(f) + bytes([q]) for f, q in pairs))


def unsubscribe(number: int, *filters: str | bytes) -> bytes:
    """Return an UNSUBSCRIBE (3.10)."""
    return packet(Kind.UNSUBSCRIBE, 2, number.to_bytes(2, "big") + b"".join(map(text, filters)))


def acknowledgement(kind: Kind, number: int) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return packet(kind, 2 if kind is Kind.PUBREL else 0, number.to_bytes(2, "big"))


def number_of(got: Packet) -> int:
    """Return the packet id with which a packet's body begins."""
    return int.from_bytes(got.body[:2], "big")


def publication_of(got: Packet) -> Publication:
    """Take a PUBLISH apart (3.3)."""
    size, qos = int.from_bytes(got.body[:2], "big"), got.flags >> 1 & 3
    rest = got.body[2 + size :]
    number = int.from_bytes(rest[:2], "big") if qos else 0
    return Publication(
        topic=got.body[2 : 2 + size].decode(),
        payload=rest[2:] if qos else rest,
        qos=qos,
        retain=bool(got.flags & 1),
        dup=bool(got.flags & 8),
        number=number,
    )
