"""Who holds a message: the owners of sessions that it waits for, and who retains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker import disk_costs
from fleetkey.broker.memory_costs import MESSAGES, message_bytes
from fleetkey.budget import SharedCharge

if TYPE_CHECKING:
    from fleetkey.broker.message import Message

__all__ = ["charge_in_memory", "charge_on_disk"]


def charge_in_memory(message: Message) -> SharedCharge:
    """Return who is charged for a message in memory."""
    if message.in_memory is None:
        message.in_memory = SharedCharge(MESSAGES, message_bytes(message))
    return message.in_memory


def charge_on_disk(message: Message) -> SharedCharge:
    """Return who is charged for its row in the store."""
    charge = message.on_disk
    if charge is None:
        charge = message.on_disk = SharedCharge(MESSAGES, disk_costs.message_bytes(message))
    return charge
