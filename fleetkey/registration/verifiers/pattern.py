"""The `pattern` verifier: serials that match a pattern may register."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config import SerialPattern
from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetkey.access import WorkerPool

__all__ = ["PatternVerifier"]


class PatternVerifier:
    """Matches the whole serial in linear time, in a thread of the pool. This is no proof: a serial can be guessed."""

    name = "pattern"

    def __init__(self, patterns: Iterable[str], pool: WorkerPool) -> None:
        """Compile the patterns. Raises `PatternError`."""
        self._patterns = [SerialPattern(pattern) for pattern in patterns]
        self._pool = pool

    async def verify(self, claim: Claim) -> Accepted | Rejected:
        """Accept a serial that one of the patterns matches."""
        if await self._pool.run(self._matches, claim.serial):
            return Accepted()
        return Rejected(RefusalReason.NO_MATCH)

    def _matches(self, serial: str) -> bool:
        return any(pattern.matches(serial) for pattern in self._patterns)
