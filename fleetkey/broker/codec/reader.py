"""Reading fields from a packet's body."""

from __future__ import annotations

from fleetkey.broker.codec.errors import MalformedPacketError
from fleetkey.broker.codec.frame import MAX_LENGTH_BYTES

__all__ = ["Reader", "decode_text"]


class Reader:
    """Reads one field after another, and never past the packet's end."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._position, self._end = data, start, end

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._position == self._end

    def byte(self) -> int:
        """Read a byte."""
        position = self._position
        if position >= self._end:
            raise _ends_too_soon()
        self._position = position + 1
        return self._data[position]

    def number(self) -> int:
        """Read a two-byte integer (MQTT 3.1.1, 1.5.2)."""
        data, position = self._data, self._position
        if position + 2 > self._end:
            raise _ends_too_soon()
        self._position = position + 2
        return data[position] << 8 | data[position + 1]

    def packet_id(self) -> int:
        """Read a packet identifier, which is never 0 (2.3.1-1)."""
        packet_id = self.number()
        if not packet_id:
            msg = "a packet identifier of 0"
            raise MalformedPacketError(msg)
        return packet_id

    def binary(self) -> bytes:
        """Read length-prefixed bytes."""
        size = self.number()
        start = self._position
        end = self._position = start + size
        if end > self._end:
            raise _ends_too_soon()
        return self._data[start:end]

    def long_number(self) -> int:
        """Read a four-byte integer (MQTT 5.0, 1.5.3)."""
        return self.number() << 16 | self.number()

    def variable_number(self) -> int:
        """Read an integer of one to four bytes, of 7 bits each, in no more of them than necessary (MQTT 5.0, 1.5.5)."""
        value = 0
        for place in range(MAX_LENGTH_BYTES):
            digit = self.byte()
            value |= (digit & 0x7F) << 7 * place
            if not digit & 0x80:
                if place and not digit:
                    break
                return value
        msg = "an integer in more bytes than necessary or allowed"
        raise MalformedPacketError(msg)

    @property
    def position(self) -> int:
        """Where the next field begins."""
        return self._position

    def part(self) -> Reader:
        """Return a reader of the properties that follow, which begin with their length, and skip them here."""
        size = self.variable_number()
        start = self._position
        self._position = start + size
        if self._position > self._end:
            raise _ends_too_soon()
        return Reader(self._data, start, self._position)

    def since(self, start: int) -> bytes:
        """Return the bytes from `start` up to the next field."""
        return self._data[start : self._position]

    def text(self) -> str:
        """Read a string (1.5.3)."""
        return decode_text(self.binary())


def _ends_too_soon() -> MalformedPacketError:
    return MalformedPacketError("a field that extends past the end of its packet")


def decode_text(content: bytes) -> str:
    """Decode a string: well-formed UTF-8 without NUL (1.5.3-1, 1.5.3-2). Raises `MalformedPacketError`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        msg = "a string that is not UTF-8"
        raise MalformedPacketError(msg) from None
    if "\0" in text:
        msg = "a string that contains NUL"
        raise MalformedPacketError(msg)
    return text
