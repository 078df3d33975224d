"""Rows that go with every change: the change feed and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import AuditRecord, Change, ChangeKind
from fleetkey.registry.sqlite.connection import SqliteBase, SqliteWatch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from fleetkey.registry.model import AuditEntry

__all__ = ["SqliteJournal"]

TRIM_EVERY = 1000
"""How many rows a table may grow over its bound before the oldest are dropped."""


class SqliteJournal(SqliteBase):
    """Writing and reading the change feed and the audit."""

    def changes_after(self, seq: int, *, limit: int = 1000) -> Sequence[Change]:
        """Return up to `limit` changes after position `seq`."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT seq, at, kind, device_id, key FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            ).fetchall()
        return [
            Change(seq=position, at=at, kind=_kind(kind), device_id=device_id, key=key)
            for position, at, kind, device_id, key in rows
        ]

    def change_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest change."""
        with self._reading() as connection:
            row = connection.execute("SELECT (SELECT min(seq) FROM changes), (SELECT max(seq) FROM changes)").fetchone()
        return row[0] or 0, row[1] or 0

    def watch(self) -> SqliteWatch:
        """Begin to watch for commits, of other processes as well."""
        return SqliteWatch(self)

    def record(self, entry: AuditEntry) -> None:
        """Append one audit entry."""
        with self._writing() as database:
            self._audit(database.conn, entry)

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        return self._read_audit("WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))

    def last_audit(self, limit: int) -> list[AuditRecord]:
        """Return the newest `limit` entries, oldest first."""
        return self._read_audit("ORDER BY seq DESC LIMIT ?", (limit,))[::-1]

    def _read_audit(self, clause: str, parameters: tuple[int, ...]) -> list[AuditRecord]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT seq, at, actor, action, outcome, reason, address, serial, device_id, key FROM audit "  # noqa: S608 - the clause is ours
                + clause,
                parameters,
            ).fetchall()
        return [
            AuditRecord(
                seq=row[0],
                at=row[1],
                actor=row[2],
                action=row[3],
                outcome=row[4],
                reason=row[5],
                address=row[6],
                serial=row[7],
                device_id=row[8],
                key=row[9],
            )
            for row in rows
        ]

    def _audit(self, connection: sqlite3.Connection, entry: AuditEntry) -> None:
        cursor = connection.execute(
            "INSERT INTO audit (at, actor, action, outcome, reason, address, serial, device_id, key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._now(),
                entry.actor,
                entry.action,
                entry.outcome,
                entry.reason,
                entry.address,
                entry.serial,
                entry.device_id,
                entry.key,
            ),
        )
        self._trim(connection, "audit", cursor.lastrowid)

    def _change(
        self, connection: sqlite3.Connection, kind: ChangeKind, *, device_id: str | None = None, key: str | None = None
    ) -> None:
        cursor = connection.execute(
            "INSERT INTO changes (at, kind, device_id, key) VALUES (?, ?, ?, ?)", (self._now(), kind, device_id, key)
        )
        self._trim(connection, "changes", cursor.lastrowid)

    def _changes(
        self, connection: sqlite3.Connection, kind: ChangeKind, device_id: str | None, keys: Iterable[str]
    ) -> None:
        for key in keys:
            self._change(connection, kind, device_id=device_id, key=key)

    def _trim(self, connection: sqlite3.Connection, table: str, newest: int | None) -> None:
        """Drop the oldest rows over the bound, once every `TRIM_EVERY` rows."""
        if newest is not None and newest % TRIM_EVERY == 0:
            connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (newest - self._max_rows[table],))  # noqa: S608 - the name is ours


def _kind(text: str) -> ChangeKind:
    """Return the kind of a row; one that a later version wrote may mean anything, so everything may have changed."""
    try:
        return ChangeKind(text)
    except ValueError:
        return ChangeKind.RESET
