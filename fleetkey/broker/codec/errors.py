"""Errors in packets. Messages are for the log; a client gets the reason, as its version encodes it."""

from __future__ import annotations

from fleetkey.broker.codec.reasons import Reason

__all__ = ["MalformedPacketError", "TooManyFiltersError", "UnsupportedProtocolError"]


class MalformedPacketError(Exception):
    """Bytes that the protocol doesn't allow; the connection is closed (MQTT 3.1.1, 4.8.0-1).

    Attributes:
        reason: what the client is told, if its version has a code for it.
    """

    reason = Reason.MALFORMED_PACKET


class TooManyFiltersError(MalformedPacketError):
    """A SUBSCRIBE or UNSUBSCRIBE with more filters than one packet may have."""

    reason = Reason.QUOTA_EXCEEDED


class UnsupportedProtocolError(Exception):
    """A CONNECT with an unsupported protocol version (3.1.2-2)."""
