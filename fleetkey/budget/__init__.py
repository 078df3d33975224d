"""One budget for a resource, such as memory: everything kept for a client is charged to its owner before it is kept."""

from fleetkey.budget.budget import Account, Budget, BudgetState
from fleetkey.budget.machine import free_disk_bytes, machine_memory_bytes, resident_bytes
from fleetkey.budget.shared_charge import SharedCharge

__all__ = [
    "Account",
    "Budget",
    "BudgetState",
    "SharedCharge",
    "free_disk_bytes",
    "machine_memory_bytes",
    "resident_bytes",
]
