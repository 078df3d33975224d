"""The access keys in SQLite: login, first connection, application keys, rotation, expiry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.model import (
    MAX_EXPIRED_AT_ONCE,
    AccessKey,
    ApplicationScope,
    ChangeKind,
    KeyKind,
    KeysEnding,
    Login,
)
from fleetkey.registry.plans import (
    audit_entries,
    plan_expiry,
    plan_first_connection,
    plan_operator_rotation,
    plan_revocation,
)
from fleetkey.registry.sqlite.devices import SqliteDevices
from fleetkey.registry.sqlite.rows import (
    HELD_KEY_COLUMNS,
    KEY_COLUMNS,
    KEYS,
    LOGIN_QUERY,
    held_key_from,
    key_from,
    login_from,
    scope_text,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from fleetkey.registry.model import Device
    from fleetkey.registry.plans import Plan

__all__ = ["SqliteKeys"]

EXPIRED = """
FROM access_keys k LEFT JOIN devices d ON d.device_id = k.device_id WHERE k.status = 'active' AND k.expires_at <= ?
"""


class SqliteKeys(SqliteDevices):
    """Finding, creating and ending keys."""

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        with self._reading() as connection:
            row = connection.execute(LOGIN_QUERY, (key,)).fetchone()
        return login_from(row) if row else None

    def record_first_connection(self, key: str, *, address: str = "") -> bool:
        """Record a key's first connection, with its address, and retire the older keys if it replaces them."""
        with self._writing() as database:
            connection = database.conn
            row = connection.execute(
                f"SELECT device_id, {HELD_KEY_COLUMNS} FROM access_keys WHERE key = ? AND status = 'active'",  # noqa: S608 - the columns are ours
                (key,),
            ).fetchone()
            if row is None:
                return False
            device_id = row[0]
            plan = plan_first_connection(
                key,
                self._active_keys(connection, device_id) if device_id else [held_key_from(row[1:])],
                device_id=device_id,
                serial=_serial_of(connection, device_id),
                address=address,
                now=self._now(),
            )
            return self._carry_out(connection, plan)

    def create_application_key(
        self,
        *,
        key: str,
        secret_hash: str,
        name: str,
        scope: ApplicationScope,
        actor: str,
        description: str = "",
        sources: Sequence[str] = (),
        expires_at: int | None = None,
    ) -> AccessKey:
        """Store an application key."""
        with self._writing() as database:
            connection = database.conn
            for device_id in scope.device_ids:
                self._device(connection, device_id)
            connection.execute(
                "INSERT INTO access_keys"
                " (key, kind, status, secret_hash, name, description, scope, sources, expires_at, created_at)"
                " VALUES (?, 'application', 'active', ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    secret_hash,
                    name,
                    description,
                    scope_text(scope),
                    json.dumps(list(sources)) if sources else None,
                    expires_at,
                    self._now(),
                ),
            )
            self._change(connection, ChangeKind.KEY_ISSUED, key=key)
            self._audit(connection, audit_entries.application_key_created(key, name, actor=actor))
            return self._key(connection, key)

    def get_key(self, key: str) -> AccessKey:
        """Return one key."""
        with self._reading() as connection:
            return self._key(connection, key)

    def list_keys(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        device_id: str | None = None,
        kind: KeyKind | None = None,
        include_retired: bool = False,
    ) -> list[tuple[int, AccessKey]]:
        """Return up to `limit` (position, key) pairs after position `after`, oldest first."""
        where, parameters = ["seq > ?"], [after]
        values: list[str] = []
        if device_id is not None:
            where.append("device_id = ?")
            values.append(device_id)
        if kind is not None:
            # A literal: with a parameter, SQLite can't tell that it may use the index of application keys.
            where.append(f"kind = '{KeyKind(kind).value}'")
        if not include_retired:
            where.append("status = 'active'")
        query = f"SELECT {KEY_COLUMNS} FROM {KEYS} WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608 - the conditions are ours
        with self._reading() as connection:
            rows = connection.execute(query, [*parameters, *values, limit]).fetchall()
        return [(row[0], key_from(row)) for row in rows]

    def revoke_key(self, key: str, *, actor: str) -> AccessKey:
        """Retire a key for good."""
        with self._writing() as database:
            connection = database.conn
            found = self._key(connection, key)
            serial = _serial_of(connection, found.device_id)
            self._carry_out(connection, plan_revocation(found, serial=serial, actor=actor, now=self._now()))
            return self._key(connection, key)

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> KeysEnding:
        """Expire a device's active keys after `grace_seconds`."""
        with self._writing() as database:
            plan = self._plan_rotation(database.conn, self._device(database.conn, device_id), grace_seconds, actor)
            return self._carry_out(database.conn, plan)

    def expire_keys_of_devices(self, grace_seconds: Mapping[str, int], *, actor: str) -> int:
        """Expire the active keys of those devices that exist, in one transaction."""
        changed = 0
        with self._writing() as database:
            for device in self._those_there(database.conn, list(grace_seconds)):
                plan = self._plan_rotation(database.conn, device, grace_seconds[device.device_id], actor)
                self._carry_out(database.conn, plan)
                changed += bool(plan.writes)
        return changed

    def devices_with_keys_to_expire(self, grace_seconds: Mapping[str, int]) -> frozenset[str]:
        """Return the ids of those devices that `expire_keys_of_devices` would change now."""
        with self._reading() as connection:
            return frozenset(
                device.device_id
                for device in self._those_there(connection, list(grace_seconds))
                if self._plan_rotation(connection, device, grace_seconds[device.device_id], "").writes
            )

    def _plan_rotation(
        self, connection: sqlite3.Connection, device: Device, grace_seconds: int, actor: str
    ) -> Plan[KeysEnding]:
        keys = self._active_keys(connection, device.device_id)
        return plan_operator_rotation(device, keys, grace_seconds=grace_seconds, actor=actor, now=self._now())

    def retire_expired_keys(self, *, limit: int = MAX_EXPIRED_AT_ONCE) -> int:
        """Retire expired keys, in one transaction."""
        with self._reading() as connection:
            # Check first without the write lock: nearly always there is nothing to do.
            if connection.execute(f"SELECT 1 {EXPIRED} LIMIT 1", (self._now(),)).fetchone() is None:
                return 0
        with self._writing() as database:
            now = self._now()
            due = database.conn.execute(
                f"SELECT k.key, k.device_id, d.serial {EXPIRED} LIMIT ?",
                (now, limit),
            ).fetchall()
            for key, device_id, serial in due:
                self._carry_out(database.conn, plan_expiry(key, device_id=device_id, serial=serial, now=now))
        return len(due)

    def count_keys(self) -> int:
        """Return how many keys were ever issued."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM access_keys").fetchone()[0])

    def _key(self, connection: sqlite3.Connection, key: str) -> AccessKey:
        row = connection.execute(f"SELECT {KEY_COLUMNS} FROM {KEYS} WHERE key = ?", (key,)).fetchone()  # noqa: S608 - the columns are ours
        if row is None:
            raise NotFoundError("key", key)
        return key_from(row)


def _serial_of(connection: sqlite3.Connection, device_id: str | None) -> str | None:
    row = connection.execute("SELECT serial FROM devices WHERE device_id = ?", (device_id,)).fetchone()
    return row[0] if row else None
