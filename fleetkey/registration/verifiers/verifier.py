"""What every verifier is: it says whether a serial may register; it never issues anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Accepted", "Claim", "Rejected", "Verifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a device says of itself; the serial's form has been checked, nothing else has."""

    serial: str
    proof: str | None = field(default=None, repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """This verifier has nothing against it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The serial may not register; `reason` is for the audit, the client is told nothing of it."""

    reason: str


class Verifier(Protocol):
    """One way to prove that a serial may register."""

    name: str

    async def verify(self, claim: Claim) -> Accepted | Rejected:
        """Decide a claim. Raises `StoreError` or `HashPoolFullError` when it can't; the caller answers 503."""
        ...
