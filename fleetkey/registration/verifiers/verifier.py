"""The verifier protocol: a verifier says whether a serial may register; it never issues anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry import RefusalReason

__all__ = ["Accepted", "Claim", "Rejected", "Undecided", "Verifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a device claims. Only the serial's format has been checked."""

    serial: str
    proof: str | None = field(default=None, repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The verifier accepts the serial, and may say what the device gets if it is new."""

    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The serial may not register. `reason` is for the audit log only, not for the client."""

    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class Undecided:
    """The verifier can't decide now, so the registration is answered 503. `reason` is for the audit log."""

    reason: RefusalReason


class Verifier(Protocol):
    """One way to prove that a serial may register."""

    name: str

    async def verify(self, claim: Claim) -> Accepted | Rejected | Undecided:
        """Decide a claim. Raises `StoreError` or `OverloadedError` if it can't; the response is then 503."""
        ...
