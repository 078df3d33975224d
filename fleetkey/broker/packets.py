"""MQTT 3.1.1 packets: taken apart strictly, put together as bytes. Section numbers are those of the standard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CONNACK",
    "DISCONNECT",
    "PINGRESP",
    "PUBACK",
    "PUBCOMP",
    "PUBLISH",
    "PUBREC",
    "PUBREL",
    "SUBACK",
    "UNSUBACK",
    "Connect",
    "MalformedPacketError",
    "TooManyFiltersError",
    "UnsupportedProtocolError",
    "Will",
    "acknowledgement",
    "connack",
    "packet_id_of",
    "parse_connect",
    "publish",
    "read_subscribe",
    "read_unsubscribe",
    "suback",
]

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14

PROTOCOL_NAME = b"MQTT"
PROTOCOL_LEVEL = 4
OLDER_PROTOCOL_NAME = b"MQIsdp"
MAX_QOS = 2
TWO_BYTES = 0x7F
PINGRESP_BYTES = b"\xd0\x00"


class MalformedPacketError(Exception):
    """Bytes that are not MQTT 3.1.1; the connection is closed (4.8.0-1). The message is for the log."""


class UnsupportedProtocolError(Exception):
    """A CONNECT of another protocol level; the answer is CONNACK 1 (3.1.2-2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What is published for a client that went away without DISCONNECT (3.1.2.5)."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    is_retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A CONNECT, well formed; nothing in it has been proven."""

    client_id: str
    is_clean: bool
    keep_alive_seconds: int
    will: Will | None
    username: str | None
    password: bytes | None = field(repr=False)


class _Reader:
    """Reads fields from a packet's body; anything missing is malformed."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._position, self._end = data, start, end

    @property
    def is_at_end(self) -> bool:
        return self._position == self._end

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > self._end:
            msg = "a field ends after its packet"
            raise MalformedPacketError(msg)
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return decode_text(self.binary())


def decode_text(content: bytes) -> str:
    """Decode a string: well-formed UTF-8 without NUL (1.5.3-1, 1.5.3-2)."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        msg = "a string is not UTF-8"
        raise MalformedPacketError(msg) from None
    if "\0" in text:
        msg = "a string has a NUL"
        raise MalformedPacketError(msg)
    return text


def parse_connect(first: int, data: bytes, start: int, end: int) -> Connect:
    """Take a CONNECT apart (3.1).

    Raises:
        UnsupportedProtocolError: MQTT, but not 3.1.1.
        MalformedPacketError: anything else that isn't as 3.1 says.
    """
    if first != CONNECT << 4:
        msg = "the first packet is no CONNECT"
        raise MalformedPacketError(msg)
    reader = _Reader(data, start, end)
    name, level = reader.binary(), reader.byte()
    if name == OLDER_PROTOCOL_NAME or (name == PROTOCOL_NAME and level != PROTOCOL_LEVEL):
        raise UnsupportedProtocolError
    if name != PROTOCOL_NAME:
        msg = "unknown protocol name"
        raise MalformedPacketError(msg)
    flags = reader.byte()
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    has_username, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 0x01 or will_qos > MAX_QOS or (not has_will and (will_qos or will_retain)):
        msg = "reserved or contradicting CONNECT flags"
        raise MalformedPacketError(msg)
    if has_password and not has_username:
        msg = "a password without a user name"
        raise MalformedPacketError(msg)
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
        is_clean=bool(flags & 0x02),
        keep_alive_seconds=keep_alive,
        will=will,
        username=username,
        password=password,
    )


class TooManyFiltersError(MalformedPacketError):
    """A SUBSCRIBE or UNSUBSCRIBE with more filters than may be."""


def read_subscribe(data: bytes, start: int, end: int, most: int) -> tuple[int, Iterator[tuple[str, int]]]:
    """Return the packet id of a SUBSCRIBE (3.8), and its (filter, QoS) pairs as they are read.

    Raises:
        MalformedPacketError: at once or while they are read; `TooManyFiltersError` at the one after `most`.
    """
    reader = _Reader(data, start, end)
    return _packet_id(reader), _pairs(reader, most)


def read_unsubscribe(data: bytes, start: int, end: int, most: int) -> tuple[int, Iterator[str]]:
    """Return the packet id of an UNSUBSCRIBE (3.10), and its filters as they are read; raises like `read_subscribe`."""
    reader = _Reader(data, start, end)
    return _packet_id(reader), _filters(reader, most)


def _pairs(reader: _Reader, most: int) -> Iterator[tuple[str, int]]:
    for topic_filter in _filters(reader, most):
        qos = reader.byte()
        if qos > MAX_QOS:
            msg = "a requested QoS over 2"
            raise MalformedPacketError(msg)
        yield topic_filter, qos


def _filters(reader: _Reader, most: int) -> Iterator[str]:
    """Read filters one at a time, so that a packet costs nothing behind its bound."""
    if reader.is_at_end:
        msg = "no topic filter"
        raise MalformedPacketError(msg)
    while not reader.is_at_end:
        if not most:
            msg = "more topic filters than one packet may have"
            raise TooManyFiltersError(msg)
        most -= 1
        yield reader.text()


def packet_id_of(data: bytes, start: int, end: int) -> int:
    """Return the packet id of an acknowledgement, which has nothing else (3.4 to 3.7)."""
    if end - start != 2:  # noqa: PLR2004 - two bytes
        msg = "an acknowledgement that is not two bytes"
        raise MalformedPacketError(msg)
    return data[start] << 8 | data[start + 1]


def connack(return_code: int, *, is_session_present: bool = False) -> bytes:
    """Return a CONNACK; a refusal never says that a session is present (3.2.2-4)."""
    return bytes((CONNACK << 4, 2, int(is_session_present and not return_code), return_code))


def acknowledgement(kind: int, packet_id: int) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK."""
    flags = 2 if kind == PUBREL else 0
    return bytes((kind << 4 | flags, 2, packet_id >> 8, packet_id & 0xFF))


def suback(packet_id: int, codes: list[int]) -> bytes:
    """Return a SUBACK with a code for each filter, in order (3.9)."""
    return bytes((SUBACK << 4,)) + _length(2 + len(codes)) + packet_id.to_bytes(2, "big") + bytes(codes)


def publish(
    topic: bytes,
    payload: bytes,
    *,
    qos: int = 0,
    packet_id: int = 0,
    is_retained: bool = False,
    is_duplicate: bool = False,
) -> bytes:
    """Return a PUBLISH (3.3)."""
    first = PUBLISH << 4 | is_duplicate << 3 | qos << 1 | is_retained
    if qos:
        length = len(topic) + len(payload) + 4
        return b"%c%b%b%b%b%b" % (
            first,
            _length(length),
            len(topic).to_bytes(2, "big"),
            topic,
            packet_id.to_bytes(2, "big"),
            payload,
        )
    length = len(topic) + len(payload) + 2
    return b"%c%b%b%b%b" % (first, _length(length), len(topic).to_bytes(2, "big"), topic, payload)


def _length(length: int) -> bytes:
    """Encode a remaining length (2.2.3)."""
    if length <= TWO_BYTES:
        return bytes((length,))
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(encoded)


def _packet_id(reader: _Reader) -> int:
    packet_id = reader.number()
    if not packet_id:
        msg = "a packet id of 0"
        raise MalformedPacketError(msg)
    return packet_id
