"""Carrying out plans in SQLite: one or two statements for each kind of write."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fleetkey.registry.plans import (
    DeleteDevice,
    EndKeys,
    HeldKey,
    InsertDevice,
    InsertKey,
    MarkConnected,
    MarkRotated,
    RetireKeys,
    SetDeviceState,
    UpdateDevice,
)
from fleetkey.registry.sqlite.journal import SqliteJournal
from fleetkey.registry.sqlite.rows import DEVICE_COLUMNS, HELD_KEY_COLUMNS, held_key_from, policy_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from fleetkey.registry.model import Device
    from fleetkey.registry.plans import Plan, Write

__all__ = ["SqlitePlanWriter"]

Result = TypeVar("Result")


class SqlitePlanWriter(SqliteJournal):
    """Reads what policies need, and writes what they decide, within the caller's transaction."""

    def _active_keys(self, connection: sqlite3.Connection, device_id: str) -> list[HeldKey]:
        """Return a device's active keys, oldest first. Retired keys, whose number isn't bounded, aren't read."""
        rows = connection.execute(
            f"SELECT {HELD_KEY_COLUMNS} FROM access_keys WHERE device_id = ? AND status = 'active' ORDER BY seq",  # noqa: S608 - the columns are ours
            (device_id,),
        )
        return [held_key_from(row) for row in rows.fetchall()]

    def _carry_out(self, connection: sqlite3.Connection, plan: Plan[Result]) -> Result:
        """Carry out a plan and return its result."""
        for write in plan.writes:
            _write(connection, write)
        for change in plan.changes:
            self._change(connection, change.kind, device_id=change.device_id, key=change.key)
        if plan.audit is not None:
            self._audit(connection, plan.audit)
        return plan.result


def _write(connection: sqlite3.Connection, write: Write) -> None:
    match write:
        case InsertDevice(device=device):
            _insert_device(connection, device)
        case UpdateDevice():
            _update_device(connection, write)
        case SetDeviceState(device_id=device_id, state=state, at=at):
            connection.execute(
                "UPDATE devices SET state = ?, updated_at = ? WHERE device_id = ?", (state, at, device_id)
            )
        case DeleteDevice(device_id=device_id):
            for table in ("device_tags", "device_attributes", "presence", "refusals", "devices"):
                connection.execute(f"DELETE FROM {table} WHERE device_id = ?", (device_id,))  # noqa: S608 - the table is ours
        case InsertKey():
            connection.execute(
                "INSERT INTO access_keys"
                " (key, kind, status, secret_hash, device_id, replaces_older, created_at, expires_at)"
                " VALUES (?, 'device', 'active', ?, ?, ?, ?, ?)",
                (
                    write.key,
                    write.secret_hash,
                    write.device_id,
                    int(write.replaces_older),
                    write.created_at,
                    write.expires_at,
                ),
            )
        case EndKeys(keys=keys, expires_at=expires_at):
            connection.executemany(
                "UPDATE access_keys SET expires_at = ? WHERE key = ?", [(expires_at, key) for key in keys]
            )
        case MarkRotated(keys=keys, at=at):
            connection.executemany("UPDATE access_keys SET rotated_at = ? WHERE key = ?", [(at, key) for key in keys])
        case MarkConnected(key=key, at=at):
            connection.execute("UPDATE access_keys SET first_connected_at = ? WHERE key = ?", (at, key))
        case RetireKeys(keys=keys, reason=reason, at=at):
            connection.executemany(
                "UPDATE access_keys SET status = 'retired', retired_at = ?, retired_reason = ? WHERE key = ?",
                [(at, reason, key) for key in keys],
            )


def _insert_device(connection: sqlite3.Connection, device: Device) -> None:
    connection.execute(
        f"INSERT INTO devices ({DEVICE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - the columns are ours
        (
            device.device_id,
            device.serial,
            device.state,
            device.name,
            device.profile,
            policy_text(device.policy),
            device.created_at,
            device.updated_at,
        ),
    )
    _set_labels(connection, "device_tags", device.device_id, device.tags)
    _set_labels(connection, "device_attributes", device.device_id, device.attributes)
    connection.executemany(
        "INSERT OR IGNORE INTO topic_patterns VALUES (?)",
        [(pattern,) for pattern in (*device.policy.publish, *device.policy.subscribe)],
    )


def _update_device(connection: sqlite3.Connection, write: UpdateDevice) -> None:
    connection.execute(
        "UPDATE devices SET name = coalesce(?, name), updated_at = ? WHERE device_id = ?",
        (write.name, write.at, write.device_id),
    )
    _set_labels(connection, "device_tags", write.device_id, write.tags)
    _set_labels(connection, "device_attributes", write.device_id, write.attributes)


def _set_labels(
    connection: sqlite3.Connection, table: str, device_id: str, labels: Mapping[str, str] | Mapping[str, str | None]
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
