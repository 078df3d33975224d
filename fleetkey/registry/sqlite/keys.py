"""The access keys in SQLite: issuing, first connection, retirement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.ids import new_device_id
from fleetkey.registry.model import (
    AccessKey,
    ApplicationScope,
    AuditEntry,
    ChangeKind,
    Device,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyIssued,
    KeyKind,
    Login,
    Reregistration,
)
from fleetkey.registry.sqlite.devices import COLUMNS, SqliteDevices
from fleetkey.registry.sqlite.rows import KEY_COLUMNS, LOGIN_QUERY, key_from, login_from, scope_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from fleetkey.registry.model import IssueRequest

__all__ = ["SqliteKeys"]

LIVE = "status = 'active' AND (expires_at IS NULL OR expires_at > ?)"


class SqliteKeys(SqliteDevices):
    """Issuing and retiring keys."""

    def issue_device_key(self, request: IssueRequest) -> KeyIssued | IssuePending | IssueDenied:
        """Find the serial's device or create it, and issue it a key by the policy.

        The transaction holds the write lock from its first read on, so simultaneous calls for one serial take turns
        and end in one device.
        """
        with self._writing() as database:
            connection = database.conn
            device, created = self._find_or_create(connection, request)
            refusal = self._refusal(connection, device, request)
            if refusal is not None:
                if created or not isinstance(refusal, IssuePending):
                    self._audit_registration(connection, request, device, refusal)
                return refusal
            self._insert_key(connection, request, device)
            self._audit_registration(connection, request, device, None, reason="created" if created else "known")
            return KeyIssued(device=device, created=created)

    def _find_or_create(self, connection: sqlite3.Connection, request: IssueRequest) -> tuple[Device, bool]:
        row = connection.execute(f"SELECT {COLUMNS} FROM devices WHERE serial = ?", (request.serial,)).fetchone()  # noqa: S608 - the columns are ours
        if row is not None:
            return self._with_tags(connection, [row])[0], False
        now = self._now()
        device = Device(
            device_id=new_device_id(),
            serial=request.serial,
            state=DeviceState.PENDING if request.require_approval else DeviceState.ACTIVE,
            tags={},
            created_at=now,
            updated_at=now,
        )
        connection.execute(
            f"INSERT INTO devices ({COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - the columns are ours
            (device.device_id, device.serial, device.state, now, now),
        )
        self._change(connection, ChangeKind.DEVICE_CREATED, device_id=device.device_id)
        return device, True

    def _refusal(
        self, connection: sqlite3.Connection, device: Device, request: IssueRequest
    ) -> IssuePending | IssueDenied | None:
        if device.state is DeviceState.DISABLED:
            return IssueDenied(device=device, reason="device_disabled")
        if device.state is DeviceState.PENDING:
            return IssuePending(device=device)
        if request.reregistration is Reregistration.DENY and self._live_keys(connection, device.device_id):
            return IssueDenied(device=device, reason="already_registered")
        return None

    def _insert_key(self, connection: sqlite3.Connection, request: IssueRequest, device: Device) -> None:
        now = self._now()
        rotate = request.reregistration is Reregistration.ROTATE
        if rotate:
            ends = now + request.grace_seconds * 1000
            self._end_keys(connection, device.device_id, ends)
        connection.execute(
            "INSERT INTO access_keys (key, kind, status, secret_hash, device_id, replaces_older, created_at)"
            " VALUES (?, 'device', 'active', ?, ?, ?, ?)",
            (request.key, request.secret_hash, device.device_id, int(rotate), now),
        )
        self._change(connection, ChangeKind.KEY_ISSUED, device_id=device.device_id, key=request.key)
        surplus = len(self._live_keys(connection, device.device_id)) - request.max_keys
        if surplus > 0:
            # A key that never connected goes first, so that registering again and again can't push out the one in use;
            # with `rotate`, that one goes only when a newer one connects or its grace is over.
            candidates = f"{LIVE} AND first_connected_at IS NULL" if rotate else LIVE
            oldest = connection.execute(
                f"SELECT key FROM access_keys WHERE device_id = ? AND {candidates} AND key != ?"  # noqa: S608 - the condition is ours
                " ORDER BY first_connected_at IS NOT NULL, seq LIMIT ?",
                (device.device_id, now, request.key, surplus),
            ).fetchall()
            self._retire(connection, [key for (key,) in oldest], device.device_id, "too_many_keys")

    def _end_keys(self, connection: sqlite3.Connection, device_id: str, ends: int) -> int:
        """Let active keys end at a time, unless they end before; return how many changed."""
        ending = connection.execute(
            "UPDATE access_keys SET expires_at = ? WHERE device_id = ? AND status = 'active'"
            " AND (expires_at IS NULL OR expires_at > ?) RETURNING key",
            (ends, device_id, ends),
        ).fetchall()
        self._changes(connection, ChangeKind.KEY_EXPIRING, device_id, (key for (key,) in ending))
        return len(ending)

    def _live_keys(self, connection: sqlite3.Connection, device_id: str) -> Sequence[tuple[str]]:
        return connection.execute(
            f"SELECT key FROM access_keys WHERE device_id = ? AND {LIVE}",  # noqa: S608 - the condition is ours
            (device_id, self._now()),
        ).fetchall()

    def _retire(
        self, connection: sqlite3.Connection, keys: Sequence[str], device_id: str | None, reason: str
    ) -> list[str]:
        """Retire those of the keys that are still active, and return them."""
        retired = [
            key
            for key in keys
            if connection.execute(
                "UPDATE access_keys SET status = 'retired', retired_at = ?, retired_reason = ?"
                " WHERE key = ? AND status = 'active'",
                (self._now(), reason, key),
            ).rowcount
        ]
        self._changes(connection, ChangeKind.KEY_RETIRED, device_id, retired)
        return retired

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        with self._reading() as connection:
            row = connection.execute(LOGIN_QUERY, (key,)).fetchone()
        return login_from(row) if row else None

    def mark_connected(self, key: str) -> bool:
        """Record a key's first connection, and retire the older ones if it replaces them."""
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
                    device_id=device_id,
                    key=key,
                ),
            )
            return True

    def create_application_key(
        self, *, key: str, secret_hash: str, name: str, scope: ApplicationScope, actor: str
    ) -> AccessKey:
        """Store an application key."""
        with self._writing() as database:
            connection = database.conn
            for device_id in scope.device_ids:
                self._device(connection, device_id)
            connection.execute(
                "INSERT INTO access_keys (key, kind, status, secret_hash, name, scope, created_at)"
                " VALUES (?, 'application', 'active', ?, ?, ?, ?)",
                (key, secret_hash, name, scope_text(scope), self._now()),
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
            where.append("kind = ?")
            values.append(kind)
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

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> int:
        """Let a device's active keys end after `grace_seconds`."""
        with self._writing() as database:
            connection = database.conn
            self._device(connection, device_id)
            count = self._end_keys(connection, device_id, self._now() + grace_seconds * 1000)
            self._audit(
                connection,
                AuditEntry(
                    actor=actor,
                    action="keys_rotated",
                    outcome="ok",
                    reason=f"keys={count} grace_seconds={grace_seconds}",
                    device_id=device_id,
                ),
            )
            return count

    def retire_expired_keys(self, *, limit: int = 1000) -> int:
        """Retire keys whose time is over."""
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
            AuditEntry(actor=actor, action=action, outcome="ok", reason=reason, device_id=device_id, key=key),
        )

    def _audit_registration(
        self,
        connection: sqlite3.Connection,
        request: IssueRequest,
        device: Device,
        refusal: IssuePending | IssueDenied | None,
        *,
        reason: str = "",
    ) -> None:
        outcome = "ok"
        if isinstance(refusal, IssueDenied):
            outcome, reason = "refused", refusal.reason
        elif isinstance(refusal, IssuePending):
            outcome = "pending"
        self._audit(
            connection,
            AuditEntry(
                actor="device",
                action="register",
                outcome=outcome,
                reason=reason,
                address=request.address,
                serial=request.serial,
                device_id=device.device_id,
                key=request.key if outcome == "ok" else None,
            ),
        )
