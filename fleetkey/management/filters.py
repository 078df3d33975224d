"""Filters and selections of devices and keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleetkey.registry import DeviceOrder, DeviceState, KeyKind

__all__ = ["DeviceFilter", "DeviceSelection", "KeyFilter", "SerialFilter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFilter:
    """A filter for devices; everything given must match.

    Args:
        state: only devices in this state.
        tags: names to values; all must match.
        attributes: the same for attributes.
        serial: only the device with this serial.
        serial_pattern: a pattern for the whole serial (`docs/reference/patterns.md`).
        online: only devices that are connected (True), or aren't (False).
        sort: the order; None = by id.
    """

    state: DeviceState | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    serial: str | None = None
    serial_pattern: str | None = None
    online: bool | None = None
    sort: DeviceOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSelection:
    """The devices of a bulk change: those named by id, or those that match."""

    device_ids: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    serial_pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFilter:
    """A filter for keys; everything given must match."""

    device_id: str | None = None
    kind: KeyKind | None = None
    include_retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialFilter:
    """A filter for serials on the allow-list; everything given must match.

    Args:
        serial_pattern: a pattern for the whole serial.
        used: only serials that a device has registered with (True), or that none has (False).
    """

    serial_pattern: str | None = None
    used: bool | None = None
