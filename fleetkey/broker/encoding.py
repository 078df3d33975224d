"""Encoding a message for one receiver."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.codec import Codec
    from fleetkey.broker.message import Message
    from fleetkey.registry import SteadyClock

__all__ = ["encode", "has_expired"]


def encode(
    codec: Codec,
    message: Message,
    clock: SteadyClock,
    *,
    qos: int = 0,
    packet_id: int = 0,
    is_retained: bool = False,
    is_duplicate: bool = False,
    identifiers: tuple[int, ...] = (),
) -> bytes:
    """Return a PUBLISH, to be sent at once; empty if the receiver doesn't take packets of that length.

    It says for how many seconds the message may still be delivered (MQTT 5.0, 3.3.2.3.3).
    """
    expiry = None if message.expires_at is None else max(0, ceil(message.expires_at - clock.lasted()))
    return codec.publish(
        message.topic_bytes,
        message.payload,
        qos=qos,
        packet_id=packet_id,
        is_retained=is_retained,
        is_duplicate=is_duplicate,
        properties=message.properties,
        expiry_seconds=expiry,
        identifiers=identifiers,
    )


def has_expired(message: Message, clock: SteadyClock) -> bool:
    """Return whether a message may no longer be delivered (MQTT 5.0, 3.3.2.3.3)."""
    return message.expires_at is not None and message.expires_at <= clock.lasted()
