"""The rows that accompany every change: the change feed and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import Change, ChangeKind
from fleetkey.registry.sqlite.audit import SqliteAudit
from fleetkey.registry.sqlite.connection import TRIM_EVERY, SqliteWatch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

__all__ = ["SqliteJournal"]


class SqliteJournal(SqliteAudit):
    """Writing and reading the change feed."""

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
        """Return the positions of the oldest and the newest change."""
        with self._reading() as connection:
            row = connection.execute("SELECT (SELECT min(seq) FROM changes), (SELECT max(seq) FROM changes)").fetchone()
        return row[0] or 0, row[1] or 0

    def watch(self, *, waits: bool = True) -> SqliteWatch:
        """Watch for commits by any process. With `waits=False`, it raises `StoreBusyError` instead of waiting."""
        return SqliteWatch(self, waits=waits)

    def _change(
        self, connection: sqlite3.Connection, kind: ChangeKind, *, device_id: str | None = None, key: str | None = None
    ) -> None:
        cursor = connection.execute(
            "INSERT INTO changes (at, kind, device_id, key) VALUES (?, ?, ?, ?)", (self._now(), kind, device_id, key)
        )
        newest = cursor.lastrowid
        if newest is not None and newest % TRIM_EVERY == 0:
            connection.execute("DELETE FROM changes WHERE seq <= ?", (newest - self._max_change_rows,))

    def _changes(
        self, connection: sqlite3.Connection, kind: ChangeKind, device_id: str | None, keys: Iterable[str]
    ) -> None:
        for key in keys:
            self._change(connection, kind, device_id=device_id, key=key)


def _kind(text: str) -> ChangeKind:
    """Return the kind of a row. An unknown kind, from a later version, means that everything may have changed."""
    try:
        return ChangeKind(text)
    except ValueError:
        return ChangeKind.RESET
