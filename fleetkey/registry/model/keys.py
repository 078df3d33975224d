"""Access keys and their scopes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.registry.model.devices import NO_POLICY, Presence

if TYPE_CHECKING:
    from fleetkey.registry.model.devices import DevicePolicy, DeviceState

__all__ = [
    "MAX_EXPIRED_AT_ONCE",
    "AccessKey",
    "ApplicationScope",
    "KeyKind",
    "KeyStatus",
    "KeysEnding",
    "Login",
    "RetiredReason",
]

MAX_EXPIRED_AT_ONCE = 1000
"""How many expired keys are retired in one transaction."""

NEVER_CONNECTED = Presence()


class KeyKind(StrEnum):
    """Whose credential it is."""

    DEVICE = "device"
    APPLICATION = "application"


class KeyStatus(StrEnum):
    """Keys are retired, never deleted and never reused."""

    ACTIVE = "active"
    RETIRED = "retired"


class RetiredReason(StrEnum):
    """Why a key was retired."""

    REPLACED = "replaced"
    EXPIRED = "expired"
    TOO_MANY_KEYS = "too_many_keys"
    REVOKED = "revoked"
    DEVICE_DELETED = "device_deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationScope:
    """What an application key may access: devices by id, by tags (all must match), or all; and additional topics."""

    all_devices: bool = False
    device_ids: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A credential as an operator sees it: everything but the secret's hash."""

    key: str
    kind: KeyKind
    status: KeyStatus
    device_id: str | None
    name: str | None
    description: str = ""
    scope: ApplicationScope | None
    sources: tuple[str, ...] = ()
    """Addresses and networks from which it may connect; empty = from anywhere."""
    presence: Presence = NEVER_CONNECTED
    """For an application key, by all connections with it; a device has its own."""
    created_at: int
    first_connected_at: int | None
    expires_at: int | None
    retired_at: int | None
    retired_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Everything that decides whether a key may connect, read at once."""

    key: str
    kind: KeyKind
    status: KeyStatus
    secret_hash: str = field(repr=False)
    expires_at: int | None
    first_connected_at: int | None
    device_id: str | None
    serial: str | None
    device_state: DeviceState | None
    name: str | None
    scope: ApplicationScope | None
    sources: tuple[str, ...] = ()
    policy: DevicePolicy = NO_POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysEnding:
    """The result of an operator's rotation: numbers of valid keys."""

    keys: int
    """Keys that now expire after the grace period."""
    ending_sooner: int
    """Keys that expire sooner anyway, and are unchanged."""
