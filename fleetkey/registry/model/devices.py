"""Devices, their policies, and their presence."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = [
    "NO_POLICY",
    "Device",
    "DeviceCount",
    "DeviceOrder",
    "DevicePlace",
    "DevicePolicy",
    "DeviceState",
    "Presence",
    "Reregistration",
]


class DeviceState(StrEnum):
    """Whether a device may connect."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    REJECTED = "rejected"


class Reregistration(StrEnum):
    """What a known device gets when it registers again."""

    ROTATE = "rotate"
    ADD = "add"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePolicy:
    """The profile's values when the device was created; None and empty values follow the settings."""

    reregistration: Reregistration | None = None
    grace_seconds: int | None = None
    max_keys: int | None = None
    key_lifetime_seconds: int | None = None
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    max_messages_per_second: int | None = None
    max_bytes_per_second: int | None = None


NO_POLICY = DevicePolicy()
"""The policy of a device that follows the settings in everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device is connected to the broker, and details of its last connection; times in milliseconds."""

    is_online: bool = False
    connected_at: int | None = None
    disconnected_at: int | None = None
    last_seen_at: int | None = None
    address: str = ""
    """The address it connected from."""
    reason: str = ""
    """Why its last connection ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the fleet."""

    device_id: str
    serial: str
    state: DeviceState
    name: str = ""
    tags: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None
    policy: DevicePolicy = NO_POLICY
    presence: Presence = Presence()
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCount:
    """How many devices a bounded search counted; `reached` is the last id that was examined, None at the end."""

    count: int
    reached: str | None


class DeviceOrder(StrEnum):
    """What devices are sorted by: serial, or newest first, or last seen first."""

    SERIAL = "serial"
    CREATED = "created"
    SEEN = "seen"


class DevicePlace(NamedTuple):
    """Where a device is in a sorted list: by value, and among equal values by id.

    Args:
        value: its serial, or the Unix time in seconds at which it was created or last seen; -1 = never seen.
        device_id: its id.
    """

    value: str | int
    device_id: str
