"""What can be wrong with a packet. Messages are for the log; a client is told the reason, as its version spells it."""

from __future__ import annotations

from fleetkey.broker.codec.reasons import Reason

__all__ = ["MalformedPacketError", "TooManyFiltersError", "UnsupportedProtocolError"]


class MalformedPacketError(Exception):
    """Bytes that the protocol doesn't allow; the connection is closed (MQTT 3.1.1, 4.8.0-1).

    Attributes:
        reason: what the client is told, where its version has a word for it.
    """

    reason = Reason.MALFORMED_PACKET


class TooManyFiltersError(MalformedPacketError):
    """A SUBSCRIBE or UNSUBSCRIBE with more filters than one packet may have."""

    reason = Reason.QUOTA_EXCEEDED


class UnsupportedProtocolError(Exception):
    """A CONNECT of a protocol version that isn't served (3.1.2-2)."""
