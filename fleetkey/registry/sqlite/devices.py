"""The devices in SQLite."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fleetkey.config.labels import MAX_LABELS
from fleetkey.registry.errors import NotFoundError, TooManyLabelsError
from fleetkey.registry.model import AuditEntry, ChangeKind, DeviceScan, DeviceState
from fleetkey.registry.sqlite.device_queries import (
    labels_of,
    page_query,
    rarest_first,
    read_device,
    read_devices,
    scan_query,
)
from fleetkey.registry.sqlite.presence import SqlitePresence
from fleetkey.registry.sqlite.reasons import joined, labels_reason

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fleetkey.registry.model import ApplicationScope, Device

__all__ = ["SqliteDevices"]


class SqliteDevices(SqlitePresence):
    """Reading and changing devices."""

    def get_device(self, device_id: str) -> Device:
        """Return one device."""
        with self._reading() as connection:
            return self._device(connection, device_id)

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        with self._reading() as connection:
            return self._device_of(connection, serial)

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
        """Return up to `limit` devices with ids after `after`, in order of id.

        The rarest label leads, through its index; the others are looked up for each device that it finds.
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
    ) -> DeviceScan:
        """Look at up to `max_scanned` devices with ids after `after` and return up to `limit` that match.

        It ends after `max_seconds` as well, but looks at one at least.
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
        return DeviceScan(devices=tuple(devices), reached=None if is_end else reached)

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
            device = self._device(database.conn, device_id)
            self._set_state(database.conn, device, state, actor)
            return self._device(database.conn, device_id)

    def set_device_states(
        self, device_ids: Sequence[str], state: DeviceState, *, expected: Collection[DeviceState], actor: str
    ) -> int:
        """Change the state of those of the devices that are in an expected one, in one transaction."""
        changed = 0
        with self._writing() as database:
            connection = database.conn
            devices = [self._device(connection, device_id) for device_id in dict.fromkeys(device_ids)]
            for device in devices:
                if device.state in expected:
                    changed += self._set_state(connection, device, state, actor)
        return changed

    def _set_state(self, connection: sqlite3.Connection, device: Device, state: DeviceState, actor: str) -> bool:
        if device.state == state:
            return False
        note = ""
        if (device.state, state) == (DeviceState.DISABLED, DeviceState.ACTIVE) and not _had_key(connection, device):
            # Nobody let it in yet: it was disabled while it waited, or was rejected.
            state, note = DeviceState.PENDING, "it waits for approval"
        connection.execute(
            "UPDATE devices SET state = ?, updated_at = ? WHERE device_id = ?", (state, self._now(), device.device_id)
        )
        kind = _state_change(device.state, state)
        self._change(connection, kind, device_id=device.device_id)
        self._audit_device(connection, actor, ChangeKind.DEVICE_ENABLED if note else kind, device, reason=note)
        return True

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away."""
        with self._writing() as database:
            self._tag(database.conn, self._device(database.conn, device_id), tags, actor)
            return self._device(database.conn, device_id)

    def tag_devices(self, device_ids: Sequence[str], tags: Mapping[str, str | None], *, actor: str) -> int:
        """Set tags of those of the devices that haven't just these, in one transaction."""
        changed = 0
        with self._writing() as database:
            for device in self._those_there(database.conn, device_ids):
                if any(device.tags.get(name) != value for name, value in tags.items()):
                    self._tag(database.conn, device, tags, actor)
                    changed += 1
        return changed

    def _tag(self, connection: sqlite3.Connection, device: Device, tags: Mapping[str, str | None], actor: str) -> None:
        self._set_labels(connection, "device_tags", device.device_id, tags)
        connection.execute("UPDATE devices SET updated_at = ? WHERE device_id = ?", (self._now(), device.device_id))
        self._change(connection, ChangeKind.DEVICE_TAGGED, device_id=device.device_id)
        self._audit_device(connection, actor, ChangeKind.DEVICE_TAGGED, device, reason=joined(labels_reason(tags)))

    def describe_device(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> Device:
        """Set a device's name and attributes; None as an attribute's value takes it away."""
        with self._writing() as database:
            connection = database.conn
            device = self._device(connection, device_id)
            if name is not None:
                connection.execute("UPDATE devices SET name = ? WHERE device_id = ?", (name, device_id))
            self._set_labels(connection, "device_attributes", device_id, attributes or {})
            connection.execute("UPDATE devices SET updated_at = ? WHERE device_id = ?", (self._now(), device_id))
            self._change(connection, ChangeKind.DEVICE_DESCRIBED, device_id=device_id)
            named = {} if name is None else {"name": name or None}
            changed = [*labels_reason(named), *labels_reason(attributes or {}, "attribute:")]
            self._audit_device(connection, actor, ChangeKind.DEVICE_DESCRIBED, device, reason=joined(changed))
            return self._device(connection, device_id)

    def _set_labels(
        self, connection: sqlite3.Connection, table: str, device_id: str, labels: Mapping[str, str | None]
    ) -> None:
        for name, value in labels.items():
            if value is None:
                connection.execute(f"DELETE FROM {table} WHERE device_id = ? AND name = ?", (device_id, name))  # noqa: S608 - the table is ours
            else:
                connection.execute(
                    f"INSERT INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - the table is ours
                    " ON CONFLICT (device_id, name) DO UPDATE SET value = excluded.value",
                    (device_id, name, value),
                )
        if any(value is not None for value in labels.values()):
            row = connection.execute(f"SELECT count(*) FROM {table} WHERE device_id = ?", (device_id,)).fetchone()  # noqa: S608 - the table is ours
            if row[0] > MAX_LABELS:
                raise TooManyLabelsError(device_id, table.removeprefix("device_"), MAX_LABELS)

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Forget a device and retire its keys."""
        with self._writing() as database:
            self._delete(database.conn, self._device(database.conn, device_id), actor)

    def delete_devices(self, device_ids: Sequence[str], *, actor: str) -> int:
        """Forget those of the devices that are there, in one transaction."""
        with self._writing() as database:
            devices = self._those_there(database.conn, device_ids)
            for device in devices:
                self._delete(database.conn, device, actor)
        return len(devices)

    def _delete(self, connection: sqlite3.Connection, device: Device, actor: str) -> None:
        device_id = device.device_id
        retired = connection.execute(
            "UPDATE access_keys SET status = 'retired', retired_at = ?, retired_reason = 'device_deleted'"
            " WHERE device_id = ? AND status = 'active' RETURNING key",
            (self._now(), device_id),
        ).fetchall()
        connection.execute("DELETE FROM device_tags WHERE device_id = ?", (device_id,))
        connection.execute("DELETE FROM device_attributes WHERE device_id = ?", (device_id,))
        connection.execute("DELETE FROM presence WHERE device_id = ?", (device_id,))
        connection.execute("DELETE FROM devices WHERE device_id = ?", (device_id,))
        self._change(connection, ChangeKind.DEVICE_DELETED, device_id=device_id)
        self._changes(connection, ChangeKind.KEY_RETIRED, device_id, (key for (key,) in retired))
        self._audit_device(connection, actor, ChangeKind.DEVICE_DELETED, device)

    def _audit_device(
        self, connection: sqlite3.Connection, actor: str, kind: ChangeKind, device: Device, *, reason: str = ""
    ) -> None:
        self._audit(
            connection,
            AuditEntry(
                actor=actor, action=kind, outcome="ok", reason=reason, serial=device.serial, device_id=device.device_id
            ),
        )

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
        """Return every topic pattern that a profile ever gave to a device."""
        with self._reading() as connection:
            return [pattern for (pattern,) in connection.execute("SELECT pattern FROM topic_patterns ORDER BY pattern")]


def _state_change(before: DeviceState, after: DeviceState) -> ChangeKind:
    if after is DeviceState.DISABLED:
        return ChangeKind.DEVICE_DISABLED
    if after is DeviceState.PENDING:
        return ChangeKind.DEVICE_PENDING
    if after is not DeviceState.ACTIVE:
        return ChangeKind.DEVICE_REJECTED
    return ChangeKind.DEVICE_ENABLED if before is DeviceState.DISABLED else ChangeKind.DEVICE_APPROVED


def _had_key(connection: sqlite3.Connection, device: Device) -> bool:
    """Whether a device was ever issued a key; keys are never deleted."""
    query = "SELECT 1 FROM access_keys WHERE device_id = ? LIMIT 1"
    return connection.execute(query, (device.device_id,)).fetchone() is not None
