"""What the broker keeps for each owner, charged to the budgets for memory and disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.budget import Account, Budget, free_disk_bytes, machine_memory_bytes, resident_bytes
from fleetkey.config import LimitSettings
from fleetkey.registry import is_device

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Accounts"]

UNBOUNDED = 2**62
"""The share of what the host itself publishes and keeps."""


class Accounts:
    """Finds the accounts of devices and applications, in each budget.

    Args:
        limits: the budgets and the shares; those that are 0 are taken from the machine.
        store_path: a file on the disk that the budget is for; None = the machine's disk isn't asked.
    """

    def __init__(self, limits: LimitSettings | None = None, store_path: Path | None = None) -> None:
        self._limits = limits = limits or LimitSettings()
        self.memory = Budget("memory", limits.memory or machine_memory_bytes() // 2, resident_bytes)
        self.disk = Budget("disk", limits.disk or _usable_disk(store_path))
        self._last: Account | None = None
        """The account for memory that was looked up last: a client that connects is looked up twice."""

    def memory_of(self, owner: str) -> Account:
        """Return an owner's account for memory."""
        last = self._last
        if last is None or last.owner != owner:
            last = self._last = self.memory.account(owner, *self._memory_share(owner))
        return last

    def disk_of(self, owner: str) -> Account:
        """Return an owner's account for disk space."""
        limits = self._limits
        if not owner:
            return self.disk.account(owner, UNBOUNDED, "disk")
        if is_device(owner):
            return self.disk.account(owner, limits.disk_per_device, "disk_per_device")
        return self.disk.account(owner, limits.disk_per_application, "disk_per_application")

    def _memory_share(self, owner: str) -> tuple[int, str]:
        """Return an owner's share, and what it is called."""
        limits = self._limits
        if not owner:
            return UNBOUNDED, "memory"
        if is_device(owner):
            return limits.memory_per_device, "memory_per_device"
        return limits.memory_per_application, "memory_per_application"

    @property
    def held_back(self) -> set[str]:
        """The owners that are held back, for one resource or the other."""
        return {*self.memory.held_back, *self.disk.held_back}

    @property
    def is_scarce(self) -> bool:
        """Whether the largest owners are held back, or would be as soon as they grow."""
        return self.memory.is_scarce or self.disk.is_scarce

    def look(self, now: float) -> None:
        """Determine whom to hold back from now on."""
        del now
        self.memory.look()
        self.disk.look()


def _usable_disk(store_path: Path | None) -> int:
    if store_path is None:
        return UNBOUNDED
    used = store_path.stat().st_size if store_path.exists() else 0
    return used + free_disk_bytes(store_path.parent) // 2
