"""The `allowlist` verifier: only serials on the operator's list may register."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from fleetkey.access import WorkerPool
    from fleetkey.registry.store import SerialLookup

__all__ = ["AllowlistVerifier"]


class AllowlistVerifier:
    """Looks the serial up in the registry, in a thread of the pool; its row says what a new device gets."""

    name = "allowlist"

    def __init__(self, store: SerialLookup, pool: WorkerPool) -> None:
        self._store = store
        self._pool = pool

    async def verify(self, claim: Claim) -> Accepted | Rejected:
        """Accept a listed serial."""
        listed = await self._pool.run(self._store.find_serial, claim.serial)
        if listed is None:
            return Rejected(RefusalReason.NOT_LISTED)
        return Accepted(name=listed.name, profile=listed.profile, tags=listed.tags, attributes=listed.attributes)
