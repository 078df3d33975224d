"""Searching devices: which query of the registry finds those that match a filter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fleetkey.management.pages import Batch
from fleetkey.management.patterns import parse_serial_pattern
from fleetkey.management.scans import Scans

if TYPE_CHECKING:
    from typing import Protocol

    from fleetkey.management.filters import DeviceFilter
    from fleetkey.registry import Device
    from fleetkey.registry.store import DeviceLookup, DeviceSearch

    class SearchStore(DeviceLookup, DeviceSearch, Protocol):
        """The parts of the registry that a search uses."""


__all__ = ["DeviceFinder"]


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
        self._pattern = parse_serial_pattern(wanted.serial_pattern)
        self._scans = Scans()

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
        query = partial(
            self._store.scan_devices,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if self._pattern is None else self._pattern.matches,
        )
        return self._scans.read(query, after, count)

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
