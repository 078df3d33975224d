"""Searching devices: which query of the registry finds those that match a filter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleetkey.config import PatternError, SerialPattern
from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import Batch

if TYPE_CHECKING:
    from typing import Protocol

    from fleetkey.management.filters import DeviceFilter
    from fleetkey.registry import Device
    from fleetkey.registry.store import DeviceLookup, DeviceSearch

    class SearchStore(DeviceLookup, DeviceSearch, Protocol):
        """The parts of the registry that a search uses."""


__all__ = ["DeviceFinder"]

MAX_SCANNED = 2000
"""How many devices are examined for one page, which may therefore be short."""
SCANNED_AT_ONCE = 500
"""How many are examined in one query: SQLite finds all of them, even if the first ones are enough."""
MAX_SCAN_SECONDS = 0.25
"""How long serials are matched against a pattern for one page, which may therefore be short."""


class DeviceFinder:
    """The search for one page, whose work is bounded over all its batches.

    Args:
        store: the registry.
        wanted: what devices must match.

    Raises:
        InvalidRequestError: the serial pattern is invalid.
    """

    def __init__(self, store: SearchStore, wanted: DeviceFilter) -> None:
        self._store = store
        self._wanted = wanted
        self._pattern = _pattern(wanted.serial_pattern)
        self._scans_left = MAX_SCANNED
        self._deadline = time.monotonic() + MAX_SCAN_SECONDS

    def read(self, after: str, count: int) -> Batch[Device, str]:
        """Return up to `count` devices with ids after `after`; fewer if none are left, or if no work is left."""
        wanted = self._wanted
        if wanted.serial is not None:
            return self._of_serial(wanted.serial, after)
        conditions = (wanted.state is not None) + len(wanted.tags) + len(wanted.attributes) + bool(wanted.online)
        if self._pattern is None and conditions <= 1 and wanted.online is not False:
            # An index has exactly these, in order.
            found = self._store.list_devices(
                after=after,
                limit=count,
                state=wanted.state,
                tags=wanted.tags,
                attributes=wanted.attributes,
                online=wanted.online,
            )
            return Batch(items=found, reached=found[-1].device_id if len(found) == count else None)
        return self._scanned(after, count)

    def _scanned(self, after: str, count: int) -> Batch[Device, str]:
        wanted = self._wanted
        found: list[Device] = []
        reached: str | None = after
        while reached is not None and len(found) < count and self._may_scan():
            scan = self._store.scan_devices(
                after=reached,
                limit=count - len(found),
                max_scanned=min(self._scans_left, SCANNED_AT_ONCE),
                state=wanted.state,
                tags=wanted.tags,
                attributes=wanted.attributes,
                online=wanted.online,
                matches=None if self._pattern is None else self._pattern.matches,
                max_seconds=self._deadline - time.monotonic(),
            )
            found += scan.devices
            reached = scan.reached
            self._scans_left -= scan.scanned
        return Batch(items=found, reached=reached)

    def _may_scan(self) -> bool:
        # The first scan always may, so that a search gets on however slow the machine is.
        is_first = self._scans_left == MAX_SCANNED
        return is_first or (self._scans_left > 0 and time.monotonic() < self._deadline)

    def _of_serial(self, serial: str, after: str) -> Batch[Device, str]:
        wanted, device = self._wanted, self._store.find_device(serial)
        is_wanted = (
            device is not None
            and device.device_id > after
            and wanted.state in {None, device.state}
            and wanted.online in {None, device.presence.is_online}
            and wanted.tags.items() <= device.tags.items()
            and wanted.attributes.items() <= device.attributes.items()
            and (self._pattern is None or self._pattern.matches(device.serial))
        )
        return Batch(items=(device,) if device is not None and is_wanted else (), reached=None)


def _pattern(text: str | None) -> SerialPattern | None:
    if text is None:
        return None
    try:
        return SerialPattern(text)
    except PatternError as error:
        raise InvalidRequestError("serial_pattern", f"the serial pattern can't be used: {error}") from None
