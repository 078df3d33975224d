"""MQTT packets as bytes, right or wrong, for clients that do exactly what a test says.

They are of the current version (`tests.support.versions`) unless a test gives a `level`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tests.support.properties import Name, Value, as_properties, prop, read_properties
from tests.support.versions import LEVEL_5, current_level

__all__ = [
    "DISCONNECT",
    "PINGREQ",
    "REFUSED",
    "Kind",
    "Packet",
    "Publication",
    "Will",
    "acknowledgement",
    "codes_of",
    "connect",
    "connect_fields",
    "granted_of",
    "no_properties",
    "number_of",
    "packet",
    "properties_of",
    "publication_of",
    "publish",
    "reason_of",
    "subscribe",
    "text",
    "unsubscribe",
]

REFUSED = 0x80
"""Reason codes from here on say that something failed."""
CLEAN, WILL, WILL_RETAIN, WITH_PASSWORD, WITH_USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
FOREVER = 0xFFFF_FFFF


class Kind(IntEnum):
    """Types of control packets (2.2.1)."""

    CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
    SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)


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
    properties: bytes = b""
    """Of MQTT 5, without their length."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A PUBLISH that came in; the packet id is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    number: int
    properties: tuple[tuple[int, Value], ...] = ()
    """Of MQTT 5, in their order."""


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
    level: int | None = None,
    keep_alive_seconds: int = 60,
    properties: bytes = b"",
) -> bytes:
    """Return a CONNECT (3.1).

    In MQTT 5, `clean=False` also asks for a session that never expires, unless `properties` say something else about
    it; they are given without their length.
    """
    level = current_level() if level is None else level
    flags, body = CLEAN if clean else 0, [text(client_id)]
    if will is not None:
        flags |= WILL | will.qos << 3 | (WILL_RETAIN if will.retain else 0)
        if level == LEVEL_5:
            body.append(as_properties(will.properties))
        body += [text(will.topic), text(will.payload)]
    for flag, field in (WITH_USERNAME, username), (WITH_PASSWORD, password):
        if field is not None:
            flags |= flag
            body.append(text(field))
    if not clean and not any(name == Name.SESSION_EXPIRY for name, _ in read_properties(as_properties(properties))[0]):
        properties = prop(Name.SESSION_EXPIRY, FOREVER) + properties
    header = text(protocol) + bytes([level, flags]) + keep_alive_seconds.to_bytes(2, "big")
    return packet(Kind.CONNECT, 0, header + (as_properties(properties) if level == LEVEL_5 else b"") + b"".join(body))


def no_properties() -> bytes:
    """Return what a packet of the current version has where MQTT 5 has properties."""
    return _own(b"", None)


def _own(properties: bytes, level: int | None) -> bytes:
    """Return properties with their length, in MQTT 5."""
    return as_properties(properties) if (current_level() if level is None else level) == LEVEL_5 else b""


def publish(
    topic: str | bytes,
    payload: bytes = b"x",
    *,
    qos: int = 0,
    number: int = 1,
    retain: bool = False,
    dup: bool = False,
    level: int | None = None,
    properties: bytes = b"",
) -> bytes:
    """Return a PUBLISH (3.3); the packet id is left out at QoS 0."""
    identifier = number.to_bytes(2, "big") if qos else b""
    body = text(topic) + identifier + _own(properties, level) + payload
    return packet(Kind.PUBLISH, dup << 3 | qos << 1 | retain, body)


def subscribe(
    number: int,
    *filters: str | bytes | tuple[str | bytes, int],
    qos: int = 0,
    level: int | None = None,
    properties: bytes = b"",
) -> bytes:
    """Return a SUBSCRIBE (3.8) of filters; one that comes as a pair has a QoS, or options of MQTT 5, of its own."""
    pairs = (each if isinstance(each, tuple) else (each, qos) for each in filters)
    body = number.to_bytes(2, "big") + _own(properties, level) + b"".join(text(f) + bytes([q]) for f, q in pairs)
    return packet(Kind.SUBSCRIBE, 2, body)


def unsubscribe(number: int, *filters: str | bytes, level: int | None = None, properties: bytes = b"") -> bytes:
    """Return an UNSUBSCRIBE (3.10)."""
    body = number.to_bytes(2, "big") + _own(properties, level) + b"".join(map(text, filters))
    return packet(Kind.UNSUBSCRIBE, 2, body)


def acknowledgement(kind: Kind, number: int, reason: int | None = None, properties: bytes | None = None) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL or PUBCOMP; those of MQTT 5 may have a reason code, and then properties."""
    body = number.to_bytes(2, "big")
    if reason is not None:
        body += bytes([reason]) + (as_properties(properties) if properties is not None else b"")
    return packet(kind, 2 if kind is Kind.PUBREL else 0, body)


def number_of(got: Packet) -> int:
    """Return the packet id with which a packet's body begins."""
    return int.from_bytes(got.body[:2], "big")


def publication_of(got: Packet, level: int | None = None) -> Publication:
    """Take a PUBLISH apart (3.3)."""
    size, qos = int.from_bytes(got.body[:2], "big"), got.flags >> 1 & 3
    rest = got.body[2 + size :]
    number, at = (int.from_bytes(rest[:2], "big"), 2) if qos else (0, 0)
    properties: list[tuple[int, Value]] = []
    if (current_level() if level is None else level) == LEVEL_5:
        properties, at = read_properties(rest, at)
    return Publication(
        topic=got.body[2 : 2 + size].decode(),
        payload=rest[at:],
        qos=qos,
        retain=bool(got.flags & 1),
        dup=bool(got.flags & 8),
        number=number,
        properties=tuple(properties),
    )


def reason_of(got: Packet) -> int:
    """Return the reason code of a PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT or AUTH; 0 if it is left out."""
    at = 0 if got.kind in {Kind.DISCONNECT, Kind.AUTH} else 2
    return got.body[at] if len(got.body) > at else 0


def codes_of(got: Packet, level: int | None = None) -> list[int]:
    """Return the codes of a SUBACK, or of an UNSUBACK, which has some in MQTT 5."""
    at = read_properties(got.body, 2)[1] if (current_level() if level is None else level) == LEVEL_5 else 2
    return list(got.body[at:])


def granted_of(got: Packet, level: int | None = None) -> list[int]:
    """Return the codes of a SUBACK; whatever says why a filter is refused is returned as 0x80."""
    return [min(code, REFUSED) for code in codes_of(got, level)]


def properties_of(got: Packet) -> list[tuple[int, Value]]:
    """Return the properties of any packet of MQTT 5 but PUBLISH, if it has any."""
    at = {Kind.DISCONNECT: 1, Kind.AUTH: 1, Kind.SUBACK: 2, Kind.UNSUBACK: 2, Kind.CONNACK: 2}.get(Kind(got.kind), 3)
    return read_properties(got.body, at)[0] if len(got.body) > at else []
