"""Encoding a message for one receiver."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.codec import Codec
    from fleetkey.broker.message import Message, OutboundMessage
    from fleetkey.registry import SteadyClock

__all__ = ["TOO_LONG", "encode", "encode_outgoing", "has_expired"]

TOO_LONG = "receiver_packet_bytes"
"""What it is counted as if a message is longer than its receiver takes (MQTT 5.0, 3.1.2-25)."""


def encode(
    codec: Codec,
    message: Message,
    clock: SteadyClock,
    *,
    is_retained: bool = False,
    identifiers: tuple[int, ...] = (),
) -> bytes:
    """Return a PUBLISH of QoS 0, to be sent at once; empty if the receiver doesn't take packets of that length."""
    return codec.publish(
        message.topic_bytes,
        message.payload,
        is_retained=is_retained,
        properties=message.properties,
        expiry_seconds=_seconds_left(message, clock),
        identifiers=identifiers,
    )


def encode_outgoing(codec: Codec, outgoing: OutboundMessage, clock: SteadyClock) -> bytes:
    """Return a PUBLISH of any QoS, like `encode`; it is marked as a duplicate if it was sent before (3.3.1-1)."""
    message = outgoing.message
    if message.expires_at is None and not message.properties and not outgoing.identifiers:
        return codec.publish(
            message.topic_bytes,
            message.payload,
            qos=outgoing.qos,
            packet_id=outgoing.packet_id,
            is_retained=outgoing.is_retained,
            is_duplicate=outgoing.is_sent,
        )
    return codec.publish(
        message.topic_bytes,
        message.payload,
        qos=outgoing.qos,
        packet_id=outgoing.packet_id,
        is_retained=outgoing.is_retained,
        is_duplicate=outgoing.is_sent,
        properties=message.properties,
        expiry_seconds=_seconds_left(message, clock),
        identifiers=outgoing.identifiers,
    )


def has_expired(message: Message, clock: SteadyClock) -> bool:
    """Return whether a message may no longer be delivered (MQTT 5.0, 3.3.2.3.3)."""
    return message.expires_at is not None and message.expires_at <= clock.lasted()


def _seconds_left(message: Message, clock: SteadyClock) -> int | None:
    """Return for how many seconds a message may still be delivered; None without end."""
    return None if message.expires_at is None else max(0, ceil(message.expires_at - clock.lasted()))
