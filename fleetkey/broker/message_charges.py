"""What messages cost the owners of the sessions that they wait for; the publisher isn't charged.

A message is charged in full to each owner that has sessions waiting for it, however many these are, and once in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.costs import DELIVERY_BYTES, QUEUES, STORED_DELIVERY_BYTES, message_bytes, stored_message_bytes
from fleetkey.budget import SharedCharge

if TYPE_CHECKING:
    from fleetkey.broker.message import Message, OutboundMessage
    from fleetkey.broker.session import Session

__all__ = ["charge_delivery", "charge_delivery_anyway", "release_delivery"]


def charge_delivery(session: Session, outgoing: OutboundMessage) -> str:
    """Charge a session's owner for one more message that waits for it.

    Returns:
        the bound that prevents it, and then nothing is charged; empty if it is charged.
    """
    message = outgoing.message
    in_memory = message.in_memory or _in_memory(message)
    if not in_memory.hold(session.memory, DELIVERY_BYTES):
        return session.memory.bound_reached(message_bytes(message) + DELIVERY_BYTES)
    if session.is_kept and outgoing.qos:
        on_disk = message.on_disk or _on_disk(message)
        if not on_disk.hold(session.disk, STORED_DELIVERY_BYTES):
            in_memory.let_go(session.memory, DELIVERY_BYTES)
            return session.disk.bound_reached(stored_message_bytes(message) + STORED_DELIVERY_BYTES)
    return ""


def charge_delivery_anyway(session: Session, outgoing: OutboundMessage) -> None:
    """The same for what is there already, even beyond the bounds."""
    message = outgoing.message
    (message.in_memory or _in_memory(message)).hold_anyway(session.memory, DELIVERY_BYTES)
    if session.is_kept and outgoing.qos:
        (message.on_disk or _on_disk(message)).hold_anyway(session.disk, STORED_DELIVERY_BYTES)


def release_delivery(session: Session, outgoing: OutboundMessage) -> None:
    """Release what was charged: the message was delivered or dropped."""
    message = outgoing.message
    if message.in_memory is not None:
        message.in_memory.let_go(session.memory, DELIVERY_BYTES)
    if message.on_disk is not None and session.is_kept and outgoing.qos:
        message.on_disk.let_go(session.disk, STORED_DELIVERY_BYTES)


def _in_memory(message: Message) -> SharedCharge:
    charge = message.in_memory = SharedCharge(QUEUES, message_bytes(message))
    return charge


def _on_disk(message: Message) -> SharedCharge:
    charge = message.on_disk = SharedCharge(QUEUES, stored_message_bytes(message))
    return charge
