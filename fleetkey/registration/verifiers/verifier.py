"""What every verifier is: it says whether a serial may register; it never issues anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Accepted", "Claim", "Rejected", "Undecided", "Verifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a device says of itself; the serial's form has been checked, nothing else has."""

    serial: str
    proof: str | None = field(default=None, repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """This verifier has nothing against it, and may say what the device gets if it is a new one."""

    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The serial may not register; `reason` is for the audit, the client is told nothing of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """The verifier can't say now, so nobody gets in: the answer is 503. `reason` is for the audit."""

    reason: str


class Verifier(Protocol):
    """One way to prove that a serial may register."""

    name: str

    async def verify(self, claim: Claim) -> Accepted | Rejected | Undecided:
        """Decide a claim. Raises `StoreError` or `OverloadedError` when it can't; the caller answers 503."""
        ...
