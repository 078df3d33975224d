"""Errors in packets. Messages are for the log; a client gets the reason, as its version encodes it."""

from __future__ import annotations

from fleetkey.broker.codec.reasons import Reason

__all__ = [
    "MalformedPacketError",
    "PacketTooLargeError",
    "ProtocolError",
    "QuotaExceededError",
    "ReceiveMaximumExceededError",
    "TooManyFiltersError",
    "TopicAliasInvalidError",
    "TopicNameInvalidError",
    "UnsupportedProtocolError",
]


class MalformedPacketError(Exception):
    """Bytes that the protocol doesn't allow; the connection is closed (MQTT 3.1.1, 4.8.0-1).

    Args:
        message: what is wrong, in our own words; nothing that the client sent.
        bound: the bound that was exceeded, if that is what is wrong.

    Attributes:
        reason: what the client is told, if its version has a code for it.
    """

    reason = Reason.MALFORMED_PACKET

    def __init__(self, message: str, *, bound: str = "") -> None:
        super().__init__(message)
        self.bound = bound


class ProtocolError(MalformedPacketError):
    """A well-formed packet that isn't allowed, or isn't allowed now (MQTT 5.0, 4.13.1)."""

    reason = Reason.PROTOCOL_ERROR


class PacketTooLargeError(MalformedPacketError):
    """A packet longer than the server takes."""

    reason = Reason.PACKET_TOO_LARGE


class ReceiveMaximumExceededError(MalformedPacketError):
    """More unacknowledged messages than the server takes."""

    reason = Reason.RECEIVE_MAXIMUM_EXCEEDED


class TopicAliasInvalidError(MalformedPacketError):
    """A topic alias of 0, or larger than the server allows (MQTT 5.0, 3.3.2.3.4)."""

    reason = Reason.TOPIC_ALIAS_INVALID


class TopicNameInvalidError(MalformedPacketError):
    """A topic that is longer, or has more levels, than allowed."""

    reason = Reason.TOPIC_NAME_INVALID


class QuotaExceededError(MalformedPacketError):
    """A packet that would take more than its client may have."""

    reason = Reason.QUOTA_EXCEEDED


class TooManyFiltersError(QuotaExceededError):
    """A SUBSCRIBE or UNSUBSCRIBE with more filters than one packet may have."""


class UnsupportedProtocolError(Exception):
    """A CONNECT with an unsupported protocol version (3.1.2-2).

    Args:
        level: its protocol level.
        client_id: its client id, if that could be read.
        username: its user name, if that could be read.
    """

    def __init__(self, level: int, client_id: str | None = None, username: str | None = None) -> None:
        super().__init__(level)
        self.level = level
        self.client_id = client_id
        self.username = username
