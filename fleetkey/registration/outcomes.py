"""What a registration ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.access import Secret

__all__ = ["Issued", "Limited", "Malformed", "NotAllowed", "Outcome", "Pending", "Unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A credential was made and committed; the only moment at which its secret exists in clear."""

    device_id: str
    key: str
    secret: Secret
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The device waits for an operator."""

    retry_after_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The serial can't be one."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAllowed:
    """The serial may not register; why is in the audit. `is_conflict`: it has, and may not again."""

    is_conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Too many attempts."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The registry or the hash threads can't take it now."""


Outcome = Issued | Pending | Malformed | NotAllowed | Limited | Unavailable
