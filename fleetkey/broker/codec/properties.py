"""The properties of MQTT 5.0 packets (2.2.2): which there are, reading them within bounds, and writing them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from fleetkey.broker.codec.errors import (
    MalformedPacketError,
    ProtocolError,
    QuotaExceededError,
    TopicAliasInvalidError,
)
from fleetkey.broker.codec.frame import encode_length
from fleetkey.broker.codec.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NO_PROPERTIES", "Property", "PropertyLimits", "PropertySet", "read_properties", "written"]


class Property(IntEnum):
    """The identifiers of properties (2.2.2.2)."""

    PAYLOAD_FORMAT = 1
    MESSAGE_EXPIRY = 2
    CONTENT_TYPE = 3
    RESPONSE_TOPIC = 8
    CORRELATION_DATA = 9
    SUBSCRIPTION_IDENTIFIER = 11
    SESSION_EXPIRY = 17
    ASSIGNED_CLIENT_ID = 18
    SERVER_KEEP_ALIVE = 19
    AUTHENTICATION_METHOD = 21
    AUTHENTICATION_DATA = 22
    REQUEST_PROBLEM_INFORMATION = 23
    WILL_DELAY = 24
    REQUEST_RESPONSE_INFORMATION = 25
    RESPONSE_INFORMATION = 26
    SERVER_REFERENCE = 28
    REASON_STRING = 31
    RECEIVE_MAXIMUM = 33
    TOPIC_ALIAS_MAXIMUM = 34
    TOPIC_ALIAS = 35
    MAXIMUM_QOS = 36
    RETAIN_AVAILABLE = 37
    USER_PROPERTY = 38
    MAXIMUM_PACKET_SIZE = 39
    WILDCARDS_AVAILABLE = 40
    SUBSCRIPTION_IDENTIFIERS_AVAILABLE = 41
    SHARED_SUBSCRIPTIONS_AVAILABLE = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyLimits:
    """Bounds on the properties of one packet; each is a setting of `[mqtt]`."""

    max_properties: int = 128
    max_property_bytes: int = 16 * 1024
    max_user_properties: int = 64
    max_topic_aliases: int = 16
    """Topic aliases of a connection, in each direction."""


class PropertySet:
    """The properties of one packet, each of which has been checked by itself."""

    __slots__ = ("_values", "passed_on")

    def __init__(self, values: dict[int, Any], passed_on: bytes = b"") -> None:
        self._values = values
        self.passed_on = passed_on
        """Those that go with a message to its receivers, as encoded, in their order."""

    def get(self, name: Property, default: Any = None) -> Any:
        """Return a property's value."""
        return self._values.get(name, default)

    def __contains__(self, name: Property) -> bool:
        """Return whether there is such a property."""
        return name in self._values


NO_PROPERTIES: Final = PropertySet({})


def _flag(reader: Reader) -> bool:
    value = reader.byte()
    if value > 1:
        msg = "a property that must be 0 or 1"
        raise ProtocolError(msg)
    return bool(value)


def _not_zero(read: Callable[[Reader], int]) -> Callable[[Reader], int]:
    def checked(reader: Reader) -> int:
        value = read(reader)
        if not value:
            msg = "a property that must not be 0"
            raise ProtocolError(msg)
        return value

    return checked


def _alias(reader: Reader) -> int:
    alias = reader.number()
    if not alias:
        msg = "a topic alias of 0"
        raise TopicAliasInvalidError(msg)
    return alias


def _topic(reader: Reader) -> str:
    topic = reader.text()
    if "+" in topic or "#" in topic:
        # 3.3.2-14
        msg = "a response topic with a wildcard"
        raise ProtocolError(msg)
    return topic


def _pair(reader: Reader) -> tuple[str, str]:
    return reader.text(), reader.text()


def _not_from_clients(reader: Reader) -> None:
    # 3.3.4-6
    del reader
    msg = "a subscription identifier in a client's PUBLISH"
    raise ProtocolError(msg)


_NUMBER, _LONG, _TEXT, _BINARY = Reader.number, Reader.long_number, Reader.text, Reader.binary
Readers = dict[int, "Callable[[Reader], Any]"]
"""How to read each property that a packet may have."""
_PASSED_ON: Readers = {
    Property.PAYLOAD_FORMAT: _flag,
    Property.CONTENT_TYPE: _TEXT,
    Property.RESPONSE_TOPIC: _topic,
    Property.CORRELATION_DATA: _BINARY,
    Property.USER_PROPERTY: _pair,
}
"""What goes with a message to its receivers, unaltered (3.3.2.3)."""

OF_CONNECT: Readers = {
    Property.SESSION_EXPIRY: _LONG,
    Property.RECEIVE_MAXIMUM: _not_zero(_NUMBER),
    Property.MAXIMUM_PACKET_SIZE: _not_zero(_LONG),
    Property.TOPIC_ALIAS_MAXIMUM: _NUMBER,
    Property.REQUEST_RESPONSE_INFORMATION: _flag,
    Property.REQUEST_PROBLEM_INFORMATION: _flag,
    Property.USER_PROPERTY: _pair,
    Property.AUTHENTICATION_METHOD: _TEXT,
    Property.AUTHENTICATION_DATA: _BINARY,
}
OF_WILL: Readers = _PASSED_ON | {Property.WILL_DELAY: _LONG, Property.MESSAGE_EXPIRY: _LONG}
OF_PUBLISH: Readers = _PASSED_ON | {
    Property.MESSAGE_EXPIRY: _LONG,
    Property.TOPIC_ALIAS: _alias,
    Property.SUBSCRIPTION_IDENTIFIER: _not_from_clients,
}
OF_ACKNOWLEDGEMENT: Readers = {Property.REASON_STRING: _TEXT, Property.USER_PROPERTY: _pair}
OF_SUBSCRIBE: Readers = {
    Property.SUBSCRIPTION_IDENTIFIER: _not_zero(Reader.variable_number),
    Property.USER_PROPERTY: _pair,
}
OF_UNSUBSCRIBE: Readers = {Property.USER_PROPERTY: _pair}
OF_DISCONNECT: Readers = {
    Property.SESSION_EXPIRY: _LONG,
    Property.REASON_STRING: _TEXT,
    Property.USER_PROPERTY: _pair,
    Property.SERVER_REFERENCE: _TEXT,
}
"""Which properties a client's packet may have, and how each is read."""


def read_properties(reader: Reader, allowed: Readers, limits: PropertyLimits) -> PropertySet:
    """Read the properties that follow, with their length.

    Raises:
        MalformedPacketError: one is unknown, not allowed in this packet, or ill-formed (2.2.2.2).
        ProtocolError: one is there twice, or has a value that isn't allowed.
        QuotaExceededError: there are more than the limits allow.
    """
    part = reader.part()
    if part.is_at_end:
        return NO_PROPERTIES
    start = part.position
    if reader.position - start > limits.max_property_bytes:
        msg = "properties that are too long"
        raise QuotaExceededError(msg, bound="max_property_bytes")
    values: dict[int, Any] = {}
    passed_on: list[bytes] = []
    count = users = 0
    while not part.is_at_end:
        count += 1
        at, name = part.position, part.variable_number()
        read = allowed.get(name)
        if read is None:
            msg = f"a property that this packet can't have ({name})"
            raise MalformedPacketError(msg)
        if count > limits.max_properties:
            msg = "too many properties"
            raise QuotaExceededError(msg, bound="max_properties")
        value = read(part)
        if name == Property.USER_PROPERTY:
            users += 1
            if users > limits.max_user_properties:
                msg = "too many user properties"
                raise QuotaExceededError(msg, bound="max_user_properties")
        elif name in values:
            msg = f"a property that is there twice ({name})"
            raise ProtocolError(msg)
        else:
            values[name] = value
        if name in _PASSED_ON:
            passed_on.append(part.since(at))
    return PropertySet(values, b"".join(passed_on))


_NUMBER_BYTES = {
    Property.SESSION_EXPIRY: 4,
    Property.MESSAGE_EXPIRY: 4,
    Property.MAXIMUM_PACKET_SIZE: 4,
    Property.RECEIVE_MAXIMUM: 2,
    Property.TOPIC_ALIAS_MAXIMUM: 2,
    Property.TOPIC_ALIAS: 2,
    Property.SERVER_KEEP_ALIVE: 2,
}


def written(properties: dict[Property, int | str]) -> bytes:
    """Encode properties that servers send, with their length."""
    encoded = bytearray()
    for name, value in properties.items():
        encoded.append(name)
        if isinstance(value, str):
            text = value.encode()
            encoded += len(text).to_bytes(2, "big") + text
        else:
            encoded += value.to_bytes(_NUMBER_BYTES[name], "big")
    return encode_length(len(encoded)) + bytes(encoded)
