"""Issuing keys to devices in SQLite: finding or creating the device, the re-registration policy, retirement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.config.labels import MAX_LABEL_CHARACTERS
from fleetkey.registry.ids import new_device_id
from fleetkey.registry.model import (
    AuditEntry,
    ChangeKind,
    Device,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyIssued,
    Reregistration,
)
from fleetkey.registry.sqlite.devices import SqliteDevices
from fleetkey.registry.sqlite.rows import DEVICE_COLUMNS, policy_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from fleetkey.registry.model import IssueRequest

__all__ = ["LIVE", "SqliteIssuing"]

LIVE = "status = 'active' AND (expires_at IS NULL OR expires_at > ?)"
NAME_PLACEHOLDER = re.compile(r"\{(serial|device_id)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """What holds for one issue: the device's own policy, and the fleet's where that says nothing."""

    reregistration: Reregistration
    grace_seconds: int
    max_keys: int
    key_lifetime_seconds: int

    @classmethod
    def of(cls, device: Device, request: IssueRequest) -> _Policy:
        own = device.policy
        return cls(
            reregistration=own.reregistration or request.reregistration,
            grace_seconds=request.grace_seconds if own.grace_seconds is None else own.grace_seconds,
            max_keys=own.max_keys or request.max_keys,
            key_lifetime_seconds=(
                request.key_lifetime_seconds if own.key_lifetime_seconds is None else own.key_lifetime_seconds
            ),
        )


class SqliteIssuing(SqliteDevices):
    """Issuing and retiring a device's keys."""

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
                if request.audit_denial if isinstance(refusal, IssueDenied) else created:
                    self._audit_registration(connection, request, device, refusal)
                return refusal
            self._insert_key(connection, request, device)
            self._audit_registration(connection, request, device, None, reason="created" if created else "known")
            return KeyIssued(device=device, created=created)

    def _find_or_create(self, connection: sqlite3.Connection, request: IssueRequest) -> tuple[Device, bool]:
        known = self._device_of(connection, request.serial)
        if known is not None:
            return known, False
        now, device_id = self._now(), new_device_id()
        name = NAME_PLACEHOLDER.sub(lambda found: request.serial if found[1] == "serial" else device_id, request.name)
        device = Device(
            device_id=device_id,
            serial=request.serial,
            state=DeviceState.PENDING if request.require_approval else DeviceState.ACTIVE,
            name=name[:MAX_LABEL_CHARACTERS],
            tags=dict(request.tags),
            attributes=dict(request.attributes),
            profile=request.profile,
            policy=request.policy,
            created_at=now,
            updated_at=now,
        )
        policy = policy_text(device.policy)
        connection.execute(
            f"INSERT INTO devices ({DEVICE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - the columns are ours
            (device_id, device.serial, device.state, device.name, device.profile, policy, now, now),
        )
        self._set_labels(connection, "device_tags", device_id, request.tags)
        self._set_labels(connection, "device_attributes", device_id, request.attributes)
        connection.executemany(
            "INSERT OR IGNORE INTO topic_patterns VALUES (?)",
            [(pattern,) for pattern in (*device.policy.publish, *device.policy.subscribe)],
        )
        self._change(connection, ChangeKind.DEVICE_CREATED, device_id=device_id)
        if device.state is DeviceState.PENDING:
            self._change(connection, ChangeKind.DEVICE_PENDING, device_id=device_id)
        if device.tags:
            # Application keys that go by tags gain the device.
            self._change(connection, ChangeKind.DEVICE_TAGGED, device_id=device_id)
        return device, True

    def _refusal(
        self, connection: sqlite3.Connection, device: Device, request: IssueRequest
    ) -> IssuePending | IssueDenied | None:
        if device.state is DeviceState.DISABLED:
            return IssueDenied(device=device, reason="device_disabled")
        if device.state is DeviceState.REJECTED:
            return IssueDenied(device=device, reason="device_rejected")
        if device.state is DeviceState.PENDING:
            return IssuePending(device=device)
        policy = _Policy.of(device, request)
        if policy.reregistration is Reregistration.DENY and self._staying_keys(connection, device.device_id):
            return IssueDenied(device=device, reason="already_registered")
        return None

    def _insert_key(self, connection: sqlite3.Connection, request: IssueRequest, device: Device) -> None:
        now, policy = self._now(), _Policy.of(device, request)
        rotate = policy.reregistration is Reregistration.ROTATE
        if rotate:
            self._end_keys(connection, device.device_id, now + policy.grace_seconds * 1000)
        # With `deny`, what is left of the older keys is what an operator is rotating away.
        replaces_older = policy.reregistration is not Reregistration.ADD
        lifetime = policy.key_lifetime_seconds
        connection.execute(
            "INSERT INTO access_keys"
            " (key, kind, status, secret_hash, device_id, replaces_older, created_at, expires_at)"
            " VALUES (?, 'device', 'active', ?, ?, ?, ?, ?)",
            (
                request.key,
                request.secret_hash,
                device.device_id,
                int(replaces_older),
                now,
                now + lifetime * 1000 if lifetime else None,
            ),
        )
        self._change(connection, ChangeKind.KEY_ISSUED, device_id=device.device_id, key=request.key)
        surplus = len(self._live_keys(connection, device.device_id)) - policy.max_keys
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

    def _staying_keys(self, connection: sqlite3.Connection, device_id: str) -> bool:
        """Whether a key works that no operator is rotating away."""
        row = connection.execute(
            f"SELECT 1 FROM access_keys WHERE device_id = ? AND rotated_at IS NULL AND {LIVE} LIMIT 1",  # noqa: S608 - the condition is ours
            (device_id, self._now()),
        ).fetchone()
        return row is not None

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
        if request.remark is not None and outcome != "refused":
            reason = f"{reason} {request.remark(device)}".strip()
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
