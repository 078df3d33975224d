"""The devices in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.model import AuditEntry, ChangeKind, Device, DeviceState
from fleetkey.registry.sqlite.journal import SqliteJournal
from fleetkey.registry.sqlite.rows import device_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from fleetkey.registry.model import ApplicationScope

__all__ = ["SqliteDevices"]

COLUMNS = "device_id, serial, state, created_at, updated_at"
MAX_VARIABLES = 500


class SqliteDevices(SqliteJournal):
    """Reading and changing devices."""

    def get_device(self, device_id: str) -> Device:
        """Return one device."""
        with self._reading() as connection:
            return self._device(connection, device_id)

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        with self._reading() as connection:
            row = connection.execute(f"SELECT {COLUMNS} FROM devices WHERE serial = ?", (serial,)).fetchone()  # noqa: S608 - the columns are ours
            return self._with_tags(connection, [row])[0] if row else None

    def list_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Device]:
        """Return up to `limit` devices with ids after `after`, in order of id."""
        where, parameters = ["device_id > ?"], [after]
        if state is not None:
            where.append("state = ?")
            parameters.append(state)
        for name, value in (tags or {}).items():
            where.append("device_id IN (SELECT device_id FROM device_tags WHERE name = ? AND value = ?)")
            parameters += [name, value]
        query = f"SELECT {COLUMNS} FROM devices WHERE {' AND '.join(where)} ORDER BY device_id LIMIT ?"  # noqa: S608 - the conditions are ours
        with self._reading() as connection:
            return self._with_tags(connection, connection.execute(query, [*parameters, limit]).fetchall())

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
                rows = connection.execute(f"SELECT {COLUMNS} FROM devices WHERE device_id IN ({marks})", ids).fetchall()  # noqa: S608 - marks only
                found.update((device.device_id, device) for device in self._with_tags(connection, rows))
        if scope.tags:
            tagged = self.list_devices(limit=limit, tags=dict(scope.tags))
            found.update((device.device_id, device) for device in tagged)
        return list(found.values())[:limit]

    def count_devices(self) -> int:
        """Return how many devices there are."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM devices").fetchone()[0])

    def set_device_state(self, device_id: str, state: DeviceState, *, actor: str) -> Device:
        """Approve, disable or enable."""
        with self._writing() as database:
            connection = database.conn
            device = self._device(connection, device_id)
            if device.state != state:
                connection.execute(
                    "UPDATE devices SET state = ?, updated_at = ? WHERE device_id = ?", (state, self._now(), device_id)
                )
                kind = _state_change(device.state, state)
                self._change(connection, kind, device_id=device_id)
                self._audit_device(connection, actor, kind, device)
            return self._device(connection, device_id)

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away."""
        with self._writing() as database:
            connection = database.conn
            device = self._device(connection, device_id)
            for name, value in tags.items():
                if value is None:
                    connection.execute("DELETE FROM device_tags WHERE device_id = ? AND name = ?", (device_id, name))
                else:
                    connection.execute(
                        "INSERT INTO device_tags VALUES (?, ?, ?)"
                        " ON CONFLICT (device_id, name) DO UPDATE SET value = excluded.value",
                        (device_id, name, value),
                    )
            connection.execute("UPDATE devices SET updated_at = ? WHERE device_id = ?", (self._now(), device_id))
            self._change(connection, ChangeKind.DEVICE_TAGGED, device_id=device_id)
            self._audit_device(connection, actor, ChangeKind.DEVICE_TAGGED, device, reason=", ".join(tags))
            return self._device(connection, device_id)

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
        row = connection.execute(f"SELECT {COLUMNS} FROM devices WHERE device_id = ?", (device_id,)).fetchone()  # noqa: S608 - the columns are ours
        if row is None:
            raise NotFoundError("device", device_id)
        return self._with_tags(connection, [row])[0]

    def _with_tags(self, connection: sqlite3.Connection, rows: Sequence[tuple[str, ...]]) -> list[Device]:
        tags: dict[str, dict[str, str]] = {row[0]: {} for row in rows}
        for ids in _batches(list(tags)):
            marks = ", ".join("?" * len(ids))
            for device_id, name, value in connection.execute(
                f"SELECT device_id, name, value FROM device_tags WHERE device_id IN ({marks})",  # noqa: S608 - marks only
                ids,
            ):
                tags[device_id][name] = value
        return [device_from(row, tags[row[0]]) for row in rows]


def _batches(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + MAX_VARIABLES] for start in range(0, len(values), MAX_VARIABLES)]


def _state_change(before: DeviceState, after: DeviceState) -> ChangeKind:
    if after is DeviceState.DISABLED:
        return ChangeKind.DEVICE_DISABLED
    return ChangeKind.DEVICE_APPROVED if before is DeviceState.PENDING else ChangeKind.DEVICE_ENABLED
