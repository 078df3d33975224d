"""What a message costs the owners of the sessions that it waits for, and who retains it.

It is charged in full to each of them, however many sessions of theirs wait for it, and once in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker import disk_costs
from fleetkey.broker.memory_costs import DELIVERY_BYTES, IDENTIFIER_BYTES, message_bytes
from fleetkey.broker.message_holders import charge_in_memory, charge_on_disk

if TYPE_CHECKING:
    from fleetkey.broker.message import OutboundMessage
    from fleetkey.broker.session import Session

__all__ = [
    "charge_delivery",
    "charge_delivery_anyway",
    "release_delivery",
]


def charge_delivery(session: Session, outgoing: OutboundMessage) -> str:
    """Charge a session's owner for one more message that waits for it.

    Returns:
        the bound that prevents it, and then nothing is charged; empty if it is charged.
    """
    message = outgoing.message
    in_memory = message.in_memory
    if in_memory is None:
        in_memory = charge_in_memory(message)
    if not in_memory.hold(session.memory, _in_memory(outgoing)):
        return session.memory.bound_reached(message_bytes(message) + _in_memory(outgoing))
    if session.is_kept and outgoing.qos:
        on_disk = charge_on_disk(message)
        if not on_disk.hold(session.disk, disk_costs.delivery_bytes(outgoing)):
            in_memory.let_go(session.memory, _in_memory(outgoing))
            return session.disk.bound_reached(disk_costs.message_bytes(message) + disk_costs.delivery_bytes(outgoing))
    return ""


def charge_delivery_anyway(session: Session, outgoing: OutboundMessage) -> None:
    """The same for what is there already, even beyond the bounds."""
    message = outgoing.message
    charge_in_memory(message).hold_anyway(session.memory, _in_memory(outgoing))
    if session.is_kept and outgoing.qos:
        charge_on_disk(message).hold_anyway(session.disk, disk_costs.delivery_bytes(outgoing))


def release_delivery(session: Session, outgoing: OutboundMessage) -> None:
    """Release what was charged: the message was delivered or dropped."""
    message = outgoing.message
    if message.in_memory is not None:
        message.in_memory.let_go(session.memory, _in_memory(outgoing))
    if message.on_disk is not None and session.is_kept and outgoing.qos:
        message.on_disk.let_go(session.disk, disk_costs.delivery_bytes(outgoing))


def _in_memory(outgoing: OutboundMessage) -> int:
    return DELIVERY_BYTES + IDENTIFIER_BYTES * len(outgoing.identifiers) if outgoing.identifiers else DELIVERY_BYTES
