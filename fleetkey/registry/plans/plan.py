"""A plan: the result of a policy, and what a store writes in the same transaction.

Policies are pure functions that return a `Plan`. A store reads what a policy needs, calls it, and carries out the
plan, all in one transaction that excludes other changes. So a store decides nothing itself, and all stores behave the
same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import AuditEntry, ChangeKind, Device, DeviceState, RetiredReason

__all__ = [
    "DeleteDevice",
    "EndKeys",
    "HeldKey",
    "InsertDevice",
    "InsertKey",
    "MarkConnected",
    "MarkRotated",
    "NewChange",
    "Plan",
    "RetireKeys",
    "SetDeviceState",
    "UpdateDevice",
    "Write",
]

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """The parts of an active key that policies need. Times are in milliseconds since 1970.

    It may have expired: keys are retired some time after they expire.
    """

    key: str
    expires_at: int | None = None
    first_connected_at: int | None = None
    rotated_at: int | None = None
    """When an operator started to rotate it; None = never."""
    replaces_older: bool = False
    """Whether its first connection retires the device's older keys."""

    def is_live(self, now: int) -> bool:
        """Return whether it may connect now."""
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertDevice:
    """Store a new device with its tags, its attributes, and the topic patterns of its policy."""

    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDevice:
    """Change a device's name, tags or attributes. None as a value removes the tag or attribute."""

    device_id: str
    at: int
    name: str | None = None
    """None leaves it unchanged."""
    tags: Mapping[str, str | None] = field(default_factory=dict)
    attributes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDeviceState:
    """Change a device's state."""

    device_id: str
    state: DeviceState
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDevice:
    """Delete a device with its tags, its attributes and its presence; its keys stay."""

    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertKey:
    """Store a device's new, active key."""

    key: str
    secret_hash: str = field(repr=False)
    device_id: str
    replaces_older: bool
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndKeys:
    """Set when keys expire."""

    keys: tuple[str, ...]
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRotated:
    """Record that an operator is rotating keys."""

    keys: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkConnected:
    """Record a key's first connection."""

    key: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireKeys:
    """Retire active keys for good."""

    keys: tuple[str, ...]
    reason: RetiredReason
    at: int


Write: TypeAlias = (
    InsertDevice
    | UpdateDevice
    | SetDeviceState
    | DeleteDevice
    | InsertKey
    | EndKeys
    | MarkRotated
    | MarkConnected
    | RetireKeys
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChange:
    """A row to be appended to the change feed."""

    kind: ChangeKind
    device_id: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[Result_co]):
    """A result and the writes that go with it, which may be empty."""

    result: Result_co
    writes: tuple[Write, ...] = ()
    """In the order in which they must be carried out."""
    changes: tuple[NewChange, ...] = ()
    """In the order of the feed."""
    audit: AuditEntry | None = None
