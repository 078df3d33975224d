"""Counting and sorting devices in SQLite."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from fleetkey.registry.model import DeviceCount, DevicePlace
from fleetkey.registry.sqlite.device_queries import labels_of, scan_query, sort_query
from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleetkey.registry.model import DeviceOrder, DeviceState

__all__ = ["SqliteDeviceSearch"]

STEPS_PER_LOOK = 10_000
"""How many instructions of SQLite's virtual machine run between two looks at the clock."""
EVERY_ROW = -1
"""A limit of SQLite that is none."""


class SqliteDeviceSearch(SqliteJournal):
    """Searches that don't list devices by id."""

    def count_found(
        self,
        *,
        after: str = "",
        max_scanned: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> DeviceCount:
        """Count the devices that `scan_devices` would find, without reading them."""
        ends = None if max_seconds is None else time.monotonic() + max_seconds
        count, scanned, reached, is_stopped = 0, 0, after, False
        with self._reading() as connection:
            query, parameters = scan_query(connection, labels_of(tags, attributes), state, online=online)
            cursor = connection.execute(query, [*parameters, after, max_scanned])
            for device_id, serial, is_wanted in cursor:
                scanned, reached = scanned + 1, device_id
                count += bool(is_wanted and (matches is None or matches(serial)))
                if ends is not None and time.monotonic() >= ends:
                    is_stopped = True
                    break
            cursor.close()
        return DeviceCount(count=count, reached=reached if is_stopped or scanned == max_scanned else None)

    def sort_devices(
        self,
        by: DeviceOrder,
        *,
        after: DevicePlace | None = None,
        limit: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float,
    ) -> list[DevicePlace] | None:
        """Return the places of the first `limit` devices after a place; None if that takes over `max_seconds`."""
        ends = time.monotonic() + max_seconds
        query, parameters = sort_query(labels_of(tags, attributes), state, by, after=after, online=online)
        with self._reading() as connection:
            connection.set_progress_handler(lambda: int(time.monotonic() >= ends), STEPS_PER_LOOK)
            try:
                found: list[DevicePlace] = []
                # With a pattern, how many rows it takes to find enough isn't known.
                for device_id, serial, value in connection.execute(
                    query, [*parameters, limit if matches is None else EVERY_ROW]
                ):
                    if matches is None or matches(serial):
                        found.append(DevicePlace(value, device_id))
                        if len(found) == limit:
                            break
                    elif time.monotonic() >= ends:
                        return None
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    return None
                raise
            finally:
                connection.set_progress_handler(None, 0)
        return found
