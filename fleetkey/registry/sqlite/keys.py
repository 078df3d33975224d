"""The access keys in SQLite: login, first connection, application keys, rotation, expiry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.model import (
    MAX_EXPIRED_AT_ONCE,
    AccessKey,
    ApplicationScope,
    AuditEntry,
    ChangeKind,
    KeyKind,
    KeysEnding,
    Login,
)
from fleetkey.registry.sqlite.issuing import LIVE, SqliteIssuing
from fleetkey.registry.sqlite.rows import KEY_COLUMNS, LOGIN_QUERY, key_from, login_from, scope_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

__all__ = ["SqliteKeys"]


class SqliteKeys(SqliteIssuing):
    """Finding, creating and ending keys."""

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        with self._reading() as connection:
            row = connection.execute(LOGIN_QUERY, (key,)).fetchone()
        return login_from(row) if row else None

    def mark_connected(self, key: str, *, address: str = "") -> bool:
        """Record a key's first connection, from an address, and retire the older ones if it replaces them."""
        with self._writing() as database:
            connection = database.conn
            now = self._now()
            row = connection.execute(
                f"UPDATE access_keys SET first_connected_at = coalesce(first_connected_at, ?) WHERE key = ? AND {LIVE}"  # noqa: S608 - the condition is ours
                " RETURNING seq, device_id, replaces_older",
                (now, key, now),
            ).fetchone()
            if row is None:
                return False
            seq, device_id, replaces_older = row
            older: list[str] = []
            if replaces_older:
                older = [
                    found
                    for (found,) in connection.execute(
                        "SELECT key FROM access_keys WHERE device_id = ? AND status = 'active' AND seq < ?",
                        (device_id, seq),
                    )
                ]
                self._retire(connection, older, device_id, "replaced")
            self._change(connection, ChangeKind.KEY_CONNECTED, device_id=device_id, key=key)
            self._audit(
                connection,
                AuditEntry(
                    actor="device" if device_id else "application",
                    action=ChangeKind.KEY_CONNECTED,
                    outcome="ok",
                    reason=f"replaced={len(older)}",
                    address=address,
                    serial=_serial_of(connection, device_id),
                    device_id=device_id,
                    key=key,
                ),
            )
            return True

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
            self._audit_key(connection, actor, "application_key_created", key, reason=name)
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
        """Return up to `limit` (position, key) pairs after position `after`, in order of issue."""
        where, parameters = ["seq > ?"], [after]
        values: list[str] = []
        if device_id is not None:
            where.append("device_id = ?")
            values.append(device_id)
        if kind is not None:
            # A literal: with a parameter SQLite can't know that the index of application keys holds all of them.
            where.append(f"kind = '{KeyKind(kind).value}'")
        if not include_retired:
            where.append("status = 'active'")
        query = f"SELECT {KEY_COLUMNS} FROM access_keys WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608 - the conditions are ours
        with self._reading() as connection:
            rows = connection.execute(query, [*parameters, *values, limit]).fetchall()
        return [(row[0], key_from(row)) for row in rows]

    def revoke_key(self, key: str, *, actor: str) -> AccessKey:
        """Retire a key for good."""
        with self._writing() as database:
            connection = database.conn
            found = self._key(connection, key)
            if found.retired_at is None:
                self._retire(connection, [key], found.device_id, "revoked")
                self._audit_key(connection, actor, "key_revoked", key, device_id=found.device_id)
            return self._key(connection, key)

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> KeysEnding:
        """Let a device's active keys end after `grace_seconds`."""
        with self._writing() as database:
            self._device(database.conn, device_id)
            ending, _ = self._expire(database.conn, device_id, grace_seconds, actor)
            return ending

    def expire_keys_of_devices(self, grace_seconds: Mapping[str, int], *, actor: str) -> int:
        """Let the active keys of those of the devices that are there end, in one transaction."""
        with self._writing() as database:
            return sum(
                self._expire(database.conn, device.device_id, grace_seconds[device.device_id], actor)[1]
                for device in self._those_there(database.conn, list(grace_seconds))
            )

    def _expire(
        self, connection: sqlite3.Connection, device_id: str, grace_seconds: int, actor: str
    ) -> tuple[KeysEnding, bool]:
        """Let a device's keys end; return how many, and whether that changed anything."""
        now = self._now()
        live = len(self._live_keys(connection, device_id))
        # Of a key that ends sooner this alone is new: under `deny` it no longer keeps the device from registering.
        rotated = connection.execute(
            f"UPDATE access_keys SET rotated_at = ? WHERE device_id = ? AND rotated_at IS NULL AND {LIVE}",  # noqa: S608 - the condition is ours
            (now, device_id, now),
        ).rowcount
        count = self._end_keys(connection, device_id, now + grace_seconds * 1000)
        ending = KeysEnding(keys=count, ending_sooner=live - count)
        has_changed = bool(count or rotated)
        if has_changed:
            reason = f"keys={ending.keys} ending_sooner={ending.ending_sooner} grace_seconds={grace_seconds}"
            entry = AuditEntry(
                actor=actor,
                action="keys_rotated",
                outcome="ok",
                reason=reason,
                serial=_serial_of(connection, device_id),
                device_id=device_id,
            )
            self._audit(connection, entry)
        return ending, has_changed

    def retire_expired_keys(self, *, limit: int = MAX_EXPIRED_AT_ONCE) -> int:
        """Retire keys whose time is over, in one transaction."""
        with self._reading() as connection:
            due = connection.execute(
                "SELECT key, device_id FROM access_keys WHERE status = 'active' AND expires_at <= ? LIMIT ?",
                (self._now(), limit),
            ).fetchall()
        if not due:
            return 0
        with self._writing() as database:
            connection = database.conn
            retired = 0
            for key, device_id in due:
                # Another process may have been faster.
                if self._retire(connection, [key], device_id, "expired"):
                    self._audit_key(connection, "server", "key_expired", key, device_id=device_id)
                    retired += 1
        return retired

    def count_keys(self) -> int:
        """Return how many keys were ever issued."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM access_keys").fetchone()[0])

    def _key(self, connection: sqlite3.Connection, key: str) -> AccessKey:
        row = connection.execute(f"SELECT {KEY_COLUMNS} FROM access_keys WHERE key = ?", (key,)).fetchone()  # noqa: S608 - the columns are ours
        if row is None:
            raise NotFoundError("key", key)
        return key_from(row)

    def _audit_key(
        self,
        connection: sqlite3.Connection,
        actor: str,
        action: str,
        key: str,
        *,
        device_id: str | None = None,
        reason: str = "",
    ) -> None:
        self._audit(
            connection,
            AuditEntry(
                actor=actor,
                action=action,
                outcome="ok",
                reason=reason,
                serial=_serial_of(connection, device_id),
                device_id=device_id,
                key=key,
            ),
        )


def _serial_of(connection: sqlite3.Connection, device_id: str | None) -> str | None:
    row = connection.execute("SELECT serial FROM devices WHERE device_id = ?", (device_id,)).fetchone()
    return row[0] if row else None
