"""Sorting devices: which of those that match a filter come after a place in the sorted list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import MAX_CURSOR_DIGITS, Batch, invalid_cursor, parse_device_cursor
from fleetkey.management.patterns import parse_serial_pattern
from fleetkey.registry import DeviceOrder, DevicePlace, InvalidSerialError, parse_serial

if TYPE_CHECKING:
    from typing import Protocol

    from fleetkey.management.filters import DeviceFilter
    from fleetkey.registry import Device
    from fleetkey.registry.store import DeviceLookup, DeviceSearch

    class SortStore(DeviceLookup, DeviceSearch, Protocol):
        """The parts of the registry that sorting uses."""


__all__ = ["DeviceSorter", "parse_place", "place_cursor"]

MAX_SORT_SECONDS = 3.0
"""How long sorting devices may take."""
TIME = re.compile(rf"(-1|[0-9]{{1,{MAX_CURSOR_DIGITS}}})\Z")

Placed = tuple[DevicePlace, "Device"]


class DeviceSorter:
    """The sorted devices for one page: they are sorted once, and read a batch at a time.

    Args:
        store: the registry.
        wanted: what devices must match.
        by: what they are sorted by.
        limit: the maximum number of devices.

    Raises:
        InvalidRequestError: the serial pattern is invalid.
    """

    def __init__(self, store: SortStore, wanted: DeviceFilter, by: DeviceOrder, *, limit: int) -> None:
        self._store = store
        self._wanted = wanted
        self._by = by
        self._limit = limit
        self._pattern = parse_serial_pattern(wanted.serial_pattern)
        self._places: list[DevicePlace] | None = None
        self._next = 0

    def read(self, after: DevicePlace | None, count: int) -> Batch[Placed, DevicePlace | None]:
        """Return up to `count` devices: of the first call those after `after`, then those that follow.

        Raises:
            InvalidRequestError: sorting takes too long.
        """
        if self._places is None:
            self._places = self._sorted(after)
        places = self._places[self._next : self._next + count]
        self._next += len(places)
        is_end = self._next == len(self._places) < self._limit
        devices = {device.device_id: device for device in self._store.find_devices([one.device_id for one in places])}
        return Batch(
            items=[(place, devices[place.device_id]) for place in places if place.device_id in devices],
            reached=None if is_end else places[-1],
        )

    def _sorted(self, after: DevicePlace | None) -> list[DevicePlace]:
        wanted = self._wanted
        found = self._store.sort_devices(
            self._by,
            after=after,
            limit=self._limit,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if self._pattern is None else self._pattern.matches,
            max_seconds=MAX_SORT_SECONDS,
        )
        if found is None:
            reason = f"sorting these devices takes longer than {MAX_SORT_SECONDS:.0f} s; leave out sort, or name a tag"
            raise InvalidRequestError("sort", reason)
        return found


def place_cursor(by: DeviceOrder, place: DevicePlace | None) -> str:
    """Return the cursor of the page after a place; empty for the beginning."""
    return "" if place is None else f"by-{by}:{place.value}:{place.device_id}"


def parse_place(by: DeviceOrder, cursor: str | None) -> DevicePlace | None:
    """Return the place after which a page begins; None without a cursor.

    Raises:
        InvalidRequestError: the cursor is of another list, or of another order.
    """
    if cursor is None:
        return None
    start = f"by-{by}:"
    value, _, device_id = cursor.removeprefix(start).rpartition(":")
    if not cursor.startswith(start) or not device_id:
        raise invalid_cursor()
    device_id = parse_device_cursor(device_id)
    if by is not DeviceOrder.SERIAL:
        if not TIME.match(value):
            raise invalid_cursor()
        return DevicePlace(int(value), device_id)
    try:
        return DevicePlace(parse_serial(value), device_id)
    except InvalidSerialError:
        raise invalid_cursor() from None
