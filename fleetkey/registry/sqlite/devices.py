"""The devices in SQLite."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.model import Scan
from fleetkey.registry.plans import changes_tags, plan_deletion, plan_description, plan_state, plan_tags
from fleetkey.registry.sqlite.device_queries import (
    labels_of,
    page_query,
    rarest_first,
    read_device,
    read_devices,
    scan_query,
)
from fleetkey.registry.sqlite.plan_writer import SqlitePlanWriter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fleetkey.registry.model import ApplicationScope, Device, DeviceState

__all__ = ["SqliteDevices"]


class SqliteDevices(SqlitePlanWriter):
    """Reading and changing devices."""

    def get_device(self, device_id: str) -> Device:
        """Return one device."""
        with self._reading() as connection:
            return self._device(connection, device_id)

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        with self._reading() as connection:
            return self._device_of(connection, serial)

    def find_devices(self, device_ids: Sequence[str]) -> list[Device]:
        """Return those devices that exist, ordered by id; name each only once."""
        with self._reading() as connection:
            return read_devices(connection, device_ids)

    def list_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
    ) -> list[Device]:
        """Return up to `limit` devices with ids after `after`, ordered by id.

        The index of the rarest label drives the search; the other labels are looked up for each device found.
        """
        labels = labels_of(tags, attributes)
        with self._reading() as connection:
            query, parameters = page_query(rarest_first(connection, labels), state, online=online)
            (ids,) = connection.execute(
                f"SELECT json_group_array(device_id) FROM ({query})",  # noqa: S608 - ours
                [*parameters, after, limit],
            ).fetchone()
            return read_devices(connection, json.loads(ids))

    def scan_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        max_scanned: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> Scan[Device]:
        """Examine up to `max_scanned` devices with ids after `after` and return up to `limit` that match.

        It also stops after `max_seconds`, but examines at least one.
        """
        ends = None if max_seconds is None else time.monotonic() + max_seconds
        labels = labels_of(tags, attributes)
        found: list[str] = []
        scanned, reached, is_stopped = 0, after, False
        with self._reading() as connection:
            query, parameters = scan_query(connection, labels, state, online=online)
            cursor = connection.execute(query, [*parameters, after, max_scanned])
            for device_id, serial, is_wanted in cursor:
                scanned, reached = scanned + 1, device_id
                if is_wanted and (matches is None or matches(serial)):
                    found.append(device_id)
                    if len(found) == limit:
                        break
                if ends is not None and time.monotonic() >= ends:
                    is_stopped = True
                    break
            cursor.close()
            devices = read_devices(connection, found)
        is_end = len(found) < limit and scanned < max_scanned and not is_stopped
        return Scan(items=devices, reached=None if is_end else reached, scanned=scanned)

    def device_tags(self, device_id: str) -> dict[str, str]:
        """Return a device's tags."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT name, value FROM device_tags WHERE device_id = ?", (device_id,)))

    def scope_devices(self, scope: ApplicationScope, *, limit: int) -> list[Device]:
        """Return the devices that a scope names by id or by tags, at most `limit`."""
        with self._reading() as connection:
            named = read_devices(connection, list(dict.fromkeys(scope.device_ids[:limit])))
        found = {device.device_id: device for device in named}
        if scope.tags:
            tagged = self.list_devices(limit=limit, tags=dict(scope.tags))
            found.update((device.device_id, device) for device in tagged)
        return list(found.values())[:limit]

    def count_devices(self) -> int:
        """Return how many devices there are."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM devices").fetchone()[0])

    def set_device_state(self, device_id: str, state: DeviceState, *, actor: str) -> Device:
        """Approve, reject, disable or enable."""
        with self._writing() as database:
            self._set_state(database.conn, self._device(database.conn, device_id), state, actor)
            return self._device(database.conn, device_id)

    def set_device_states(
        self, device_ids: Sequence[str], state: DeviceState, *, expected: Collection[DeviceState], actor: str
    ) -> int:
        """Change the state of those devices that are in an expected state, in one transaction."""
        with self._writing() as database:
            connection = database.conn
            devices = [self._device(connection, device_id) for device_id in dict.fromkeys(device_ids)]
            return sum(
                self._set_state(connection, device, state, actor) for device in devices if device.state in expected
            )

    def _set_state(self, connection: sqlite3.Connection, device: Device, state: DeviceState, actor: str) -> bool:
        had_key = _had_key(connection, device)
        return self._carry_out(connection, plan_state(device, state, had_key=had_key, actor=actor, now=self._now()))

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None removes one."""
        with self._writing() as database:
            device = self._device(database.conn, device_id)
            self._carry_out(database.conn, plan_tags(device, tags, actor=actor, now=self._now()))
            return self._device(database.conn, device_id)

    def tag_devices(self, device_ids: Sequence[str], tags: Mapping[str, str | None], *, actor: str) -> int:
        """Set tags of those devices that don't have them yet, in one transaction."""
        with self._writing() as database:
            devices = [device for device in self._those_there(database.conn, device_ids) if changes_tags(device, tags)]
            for device in devices:
                self._carry_out(database.conn, plan_tags(device, tags, actor=actor, now=self._now()))
        return len(devices)

    def describe_device(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> Device:
        """Set a device's name and attributes; an attribute that is None is removed."""
        with self._writing() as database:
            device = self._device(database.conn, device_id)
            plan = plan_description(device, name, attributes or {}, actor=actor, now=self._now())
            self._carry_out(database.conn, plan)
            return self._device(database.conn, device_id)

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Delete a device and retire its keys."""
        with self._writing() as database:
            self._delete(database.conn, self._device(database.conn, device_id), actor)

    def delete_devices(self, device_ids: Sequence[str], *, actor: str) -> int:
        """Delete those devices that exist, in one transaction."""
        with self._writing() as database:
            devices = self._those_there(database.conn, device_ids)
            for device in devices:
                self._delete(database.conn, device, actor)
        return len(devices)

    def _delete(self, connection: sqlite3.Connection, device: Device, actor: str) -> None:
        keys = self._active_keys(connection, device.device_id)
        self._carry_out(connection, plan_deletion(device, keys, actor=actor, now=self._now()))

    def _device(self, connection: sqlite3.Connection, device_id: str) -> Device:
        device = read_device(connection, device_id)
        if device is None:
            raise NotFoundError("device", device_id)
        return device

    def _device_of(self, connection: sqlite3.Connection, serial: str) -> Device | None:
        row = connection.execute("SELECT device_id FROM devices WHERE serial = ?", (serial,)).fetchone()
        return read_device(connection, row[0]) if row else None

    def _those_there(self, connection: sqlite3.Connection, device_ids: Sequence[str]) -> list[Device]:
        return read_devices(connection, list(dict.fromkeys(device_ids)))

    def topic_patterns(self) -> list[str]:
        """Return every topic pattern that any profile has ever given to a device."""
        with self._reading() as connection:
            return [pattern for (pattern,) in connection.execute("SELECT pattern FROM topic_patterns ORDER BY pattern")]


def _had_key(connection: sqlite3.Connection, device: Device) -> bool:
    """Whether a device was ever issued a key; keys are never deleted."""
    query = "SELECT 1 FROM access_keys WHERE device_id = ? LIMIT 1"
    return connection.execute(query, (device.device_id,)).fetchone() is not None
