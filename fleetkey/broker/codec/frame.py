"""Where a packet ends: the remaining length of a fixed header (MQTT 3.1.1, 2.2.3)."""

from __future__ import annotations

from fleetkey.broker.codec.errors import MalformedPacketError

__all__ = ["ONE_BYTE_LENGTH", "encode_length", "is_two_byte_length", "read_length"]

MAX_LENGTH_BYTES = 4
ONE_BYTE_LENGTH = 0x7F
"""The largest remaining length that is encoded in one byte."""
TWO_BYTE_LENGTH = 0x3FFF


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """Read a remaining length of more than one byte, for the packet at `position`.

    Returns:
        the length, and where the packet's body begins, or -1 if more bytes are needed.

    Raises:
        MalformedPacketError: it has more bytes than allowed or necessary. Packets are forwarded as they arrived, so a
            length must have only one encoding.
    """
    length = 0
    for offset in range(MAX_LENGTH_BYTES):
        index = position + 1 + offset
        if index >= len(data):
            return 0, -1
        length |= (data[index] & 0x7F) << 7 * offset
        if not data[index] & 0x80:
            if not data[index]:
                msg = "a remaining length in more bytes than necessary"
                raise MalformedPacketError(msg)
            return length, index + 1
    msg = "a remaining length in more than four bytes"
    raise MalformedPacketError(msg)


def is_two_byte_length(data: bytes, length: int) -> bool:
    """Return whether a packet's remaining length is `length`, encoded in exactly two bytes."""
    return ONE_BYTE_LENGTH < length <= TWO_BYTE_LENGTH and data[1] == (length & 0x7F | 0x80) and data[2] == length >> 7


def encode_length(length: int) -> bytes:
    """Encode a remaining length."""
    if length <= ONE_BYTE_LENGTH:
        return bytes((length,))
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(encoded)
