"""The outcomes of a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.access import Secret

__all__ = ["Issued", "Limited", "Malformed", "NotAllowed", "Outcome", "Pending", "Unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A credential was created and committed. Its secret exists in plain text only here."""

    device_id: str
    key: str
    secret: Secret
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The device awaits an operator's approval."""

    device_id: str
    retry_after_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The serial is invalid."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAllowed:
    """The serial may not register; the audit log says why. `is_conflict`: it has registered and may not do so again."""

    is_conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Too many attempts."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The registry or the hash threads are unavailable or overloaded."""


Outcome = Issued | Pending | Malformed | NotAllowed | Limited | Unavailable
