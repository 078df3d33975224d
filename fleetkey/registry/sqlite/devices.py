"""The devices in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config.labels import MAX_LABELS
from fleetkey.registry.errors import NotFoundError, TooManyLabelsError
from fleetkey.registry.model import AuditEntry, ChangeKind, Device, DeviceState, Presence
from fleetkey.registry.sqlite.presence import SqlitePresence, presence_of
from fleetkey.registry.sqlite.rows import DEVICE_COLUMNS, device_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from fleetkey.registry.model import ApplicationScope

__all__ = ["SqliteDevices"]

MAX_VARIABLES = 500
AWAY = Presence()
MAX_COUNTED = 10_000
"""Devices that are counted to find out which of several labels is the rarest."""


class SqliteDevices(SqlitePresence):
    """Reading and changing devices."""

    def get_device(self, device_id: str) -> Device:
        """Return one device."""
        with self._reading() as connection:
            return self._device(connection, device_id)

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        with self._reading() as connection:
            row = connection.execute(f"SELECT {DEVICE_COLUMNS} FROM devices WHERE serial = ?", (serial,)).fetchone()  # noqa: S608 - the columns are ours
            return self._with_labels(connection, [row])[0] if row else None

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
        labels = [("device_tags", *label) for label in (tags or {}).items()]
        labels += [("device_attributes", *label) for label in (attributes or {}).items()]
        with self._reading() as connection:
            if len(labels) > 1:
                labels.sort(key=lambda label: _rarity(connection, label))
            query, parameters = _device_query(labels, state, online=online)
            rows = connection.execute(query, [*parameters, after, limit]).fetchall()
            return self._with_labels(connection, rows)

    def device_tags(self, device_id: str) -> dict[str, str]:
        """Return a device's tags."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT name, value FROM device_tags WHERE device_id = ?", (device_id,)))

    def scope_devices(self, scope: ApplicationScope, *, limit: int) -> list[Device]:
        """Return the devices that a scope names by id or by tags, at most `limit`."""
        found: dict[str, Device] = {}
        with self._reading() as connection:
            for ids in _batches(scope.device_ids[:limit]):
                marks = ", ".join("?" * len(ids))
                query = f"SELECT {DEVICE_COLUMNS} FROM devices WHERE device_id IN ({marks})"  # noqa: S608 - marks only
                rows = connection.execute(query, ids).fetchall()
                found.update((device.device_id, device) for device in self._with_labels(connection, rows))
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
        connection.execute(
            "UPDATE devices SET state = ?, updated_at = ? WHERE device_id = ?", (state, self._now(), device.device_id)
        )
        kind = _state_change(device.state, state)
        self._change(connection, kind, device_id=device.device_id)
        self._audit_device(connection, actor, kind, device)
        return True

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away."""
        with self._writing() as database:
            connection = database.conn
            device = self._device(connection, device_id)
            self._set_labels(connection, "device_tags", device_id, tags)
            connection.execute("UPDATE devices SET updated_at = ? WHERE device_id = ?", (self._now(), device_id))
            self._change(connection, ChangeKind.DEVICE_TAGGED, device_id=device_id)
            self._audit_device(connection, actor, ChangeKind.DEVICE_TAGGED, device, reason=", ".join(tags))
            return self._device(connection, device_id)

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
            changed = [*(["name"] if name is not None else []), *(attributes or {})]
            self._audit_device(connection, actor, ChangeKind.DEVICE_DESCRIBED, device, reason=", ".join(changed))
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
                raise TooManyLabelsError(table.removeprefix("device_"), MAX_LABELS)

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Forget a device and retire its keys."""
        with self._writing() as database:
            connection = database.conn
            device = self._device(connection, device_id)
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
        row = connection.execute(f"SELECT {DEVICE_COLUMNS} FROM devices WHERE device_id = ?", (device_id,)).fetchone()  # noqa: S608 - the columns are ours
        if row is None:
            raise NotFoundError("device", device_id)
        return self._with_labels(connection, [row])[0]

    def topic_patterns(self) -> list[str]:
        """Return every topic pattern that a profile ever gave to a device."""
        with self._reading() as connection:
            return [pattern for (pattern,) in connection.execute("SELECT pattern FROM topic_patterns ORDER BY pattern")]

    def _with_labels(self, connection: sqlite3.Connection, rows: Sequence[tuple[str, ...]]) -> list[Device]:
        ids = [row[0] for row in rows]
        tags = _labels(connection, "device_tags", ids)
        attributes = _labels(connection, "device_attributes", ids)
        presence = {name: found for batch in _batches(ids) for name, found in presence_of(connection, batch).items()}
        return [device_from(row, tags[row[0]], attributes[row[0]], presence.get(row[0], AWAY)) for row in rows]


def _labels(connection: sqlite3.Connection, table: str, device_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {device_id: {} for device_id in device_ids}
    for ids in _batches(device_ids):
        marks = ", ".join("?" * len(ids))
        for device_id, name, value in connection.execute(
            f"SELECT device_id, name, value FROM {table} WHERE device_id IN ({marks})",  # noqa: S608 - ours, and marks
            ids,
        ):
            found[device_id][name] = value
    return found


def _rarity(connection: sqlite3.Connection, label: tuple[str, str, str]) -> int:
    table, name, value = label
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE name = ? AND value = ? LIMIT {MAX_COUNTED})",  # noqa: S608 - ours
        (name, value),
    ).fetchone()
    return int(row[0])


def _device_query(
    labels: Sequence[tuple[str, str, str]], state: DeviceState | None, *, online: bool | None
) -> tuple[str, list[str]]:
    """Return the query of one page, and its parameters but for the last two: `after` and the limit."""
    columns = ", ".join(f"d.{column}" for column in DEVICE_COLUMNS.split(", "))
    query, where, parameters, cursor = f"SELECT {columns} FROM devices d", [], [], "d.device_id"  # noqa: S608 - ours
    if labels:
        (table, name, value), *others = labels
        # CROSS JOIN: the left side leads (SQLite's own rule).
        query = f"SELECT {columns} FROM {table} l CROSS JOIN devices d ON d.device_id = l.device_id"  # noqa: S608 - ours
        where, parameters, cursor = ["l.name = ? AND l.value = ?"], [name, value], "l.device_id"
        for other, name, value in others:
            inner = f"SELECT 1 FROM {other} o WHERE o.device_id = d.device_id AND o.name = ? AND o.value = ?"  # noqa: S608 - ours
            where.append(f"EXISTS ({inner})")
            parameters += [name, value]
    if online and not labels:
        query = f"SELECT {columns} FROM presence l CROSS JOIN devices d ON d.device_id = l.device_id"  # noqa: S608 - ours
        where, cursor = ["l.is_online"], "l.device_id"
    elif online is not None:
        inner = "SELECT 1 FROM presence p WHERE p.device_id = d.device_id AND p.is_online"
        where.append(f"{'' if online else 'NOT '}EXISTS ({inner})")
    if state is not None:
        where.append("d.state = ?")
        parameters.append(state)
    where.append(f"{cursor} > ?")
    return f"{query} WHERE {' AND '.join(where)} ORDER BY {cursor} LIMIT ?", parameters


def _batches(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + MAX_VARIABLES] for start in range(0, len(values), MAX_VARIABLES)]


def _state_change(before: DeviceState, after: DeviceState) -> ChangeKind:
    if after is DeviceState.DISABLED:
        return ChangeKind.DEVICE_DISABLED
    if after is not DeviceState.ACTIVE:
        return ChangeKind.DEVICE_REJECTED
    return ChangeKind.DEVICE_ENABLED if before is DeviceState.DISABLED else ChangeKind.DEVICE_APPROVED
