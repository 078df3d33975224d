"""Properties of MQTT 5 packets as bytes (2.2.2), right or wrong, written and read without the code under test."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "BINARY",
    "FOUR_BYTES",
    "ONE_BYTE",
    "TEXTS",
    "TWO_BYTES",
    "Name",
    "Value",
    "as_properties",
    "number_of_bytes",
    "prop",
    "read_properties",
    "variable",
]


class Name(IntEnum):
    """The identifiers of properties (2.2.2.2)."""

    PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA = 1, 2, 3, 8, 9
    SUBSCRIPTION_IDENTIFIER, SESSION_EXPIRY, ASSIGNED_CLIENT_ID, SERVER_KEEP_ALIVE = 11, 17, 18, 19
    AUTHENTICATION_METHOD, AUTHENTICATION_DATA, REQUEST_PROBLEM, WILL_DELAY = 21, 22, 23, 24
    REQUEST_RESPONSE, RESPONSE_INFORMATION, SERVER_REFERENCE, REASON_STRING = 25, 26, 28, 31
    RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS, MAXIMUM_QOS, RETAIN_AVAILABLE = 33, 34, 35, 36, 37
    USER_PROPERTY, MAXIMUM_PACKET_SIZE, WILDCARDS, IDENTIFIERS, SHARED = 38, 39, 40, 41, 42


Value = int | str | bytes | tuple[str, str]
"""What a property says."""
ONE_BYTE: set[int] = {1, 23, 25, 36, 37, 40, 41, 42}
TWO_BYTES: set[int] = {19, 33, 34, 35}
FOUR_BYTES: set[int] = {2, 17, 24, 39}
TEXTS: set[int] = {3, 8, 18, 21, 26, 28, 31}
BINARY: set[int] = {9, 22}


def variable(value: int) -> bytes:
    """Return a variable byte integer (1.5.5)."""
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(digits)


def number_of_bytes(name: int) -> int:
    """Return how many bytes a property's number has; 0 if it isn't a number of fixed length."""
    return 1 if name in ONE_BYTE else 2 if name in TWO_BYTES else 4 if name in FOUR_BYTES else 0


def prop(name: int, value: Value) -> bytes:
    """Return one property."""
    head = variable(name)
    if isinstance(value, tuple):
        return head + b"".join(len(each.encode()).to_bytes(2, "big") + each.encode() for each in value)
    if isinstance(value, int):
        size = number_of_bytes(name)
        return head + (value.to_bytes(size, "big") if size else variable(value))
    data = value.encode() if isinstance(value, str) else value
    return head + len(data).to_bytes(2, "big") + data


def as_properties(*each: bytes) -> bytes:
    """Return properties with their length before them."""
    together = b"".join(each)
    return variable(len(together)) + together


def read_properties(data: bytes, start: int = 0) -> tuple[list[tuple[int, Value]], int]:
    """Return the properties that begin at `start`, in their order, and where the rest of the packet begins."""
    size, at = _variable(data, start)
    end, found = at + size, list[tuple[int, Value]]()
    assert end <= len(data)
    while at < end:
        name, at = _variable(data, at)
        value: Value
        if fixed := number_of_bytes(name):
            value, at = int.from_bytes(data[at : at + fixed], "big"), at + fixed
        elif name == Name.SUBSCRIPTION_IDENTIFIER:
            value, at = _variable(data, at)
        elif name == Name.USER_PROPERTY:
            first, at = _binary(data, at)
            second, at = _binary(data, at)
            value = first.decode(), second.decode()
        elif name in TEXTS:
            content, at = _binary(data, at)
            value = content.decode()
        else:
            assert name in BINARY, name
            value, at = _binary(data, at)
        found.append((name, value))
    assert at == end
    return found, end


def _variable(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        digit = data[at]
        value |= (digit & 0x7F) << shift
        shift += 7
        at += 1
        if not digit & 0x80:
            return value, at


def _binary(data: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(data[at : at + 2], "big")
    return data[at + 2 : at + 2 + size], at + 2 + size
