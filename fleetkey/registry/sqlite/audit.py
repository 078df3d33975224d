"""The audit log in SQLite: append-only, except for retention, which bounds strangers' and other entries separately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.registry.model import Actor, AuditFilter, AuditPage, AuditRecord
from fleetkey.registry.sqlite.connection import TRIM_EVERY, SqliteBase

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from fleetkey.registry.model import AuditEntry

__all__ = ["SqliteAudit"]

COLUMNS = "seq, at, actor, action, outcome, reason, address, serial, device_id, key, by_stranger"
MAX_AUDIT_SCANNED = 20_000
"""How many entries are examined for one page, which may therefore be short."""
DROP_BATCH = 5_000
"""How many old entries are deleted in one transaction."""
TRIM_BATCH = 20_000
"""How many surplus entries are deleted in one transaction, so that it stays short even after a bound was lowered."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class _Share:
    """A set of entries with its own retention. The condition is a literal: only then does SQLite use the index."""

    condition: str
    prefix: str
    """The prefix of its columns in `audit_retention`."""


FLEETS = _Share("by_stranger = 0", "")
STRANGERS = _Share("by_stranger = 1", "strangers_")


class SqliteAudit(SqliteBase):
    """Writing and reading the audit log."""

    def record(self, entry: AuditEntry) -> None:
        """Append one audit entry."""
        self.record_all((entry,))

    def record_all(self, entries: Iterable[AuditEntry]) -> None:
        """Append entries in one transaction."""
        with self._writing() as database:
            for entry in entries:
                self._audit(database.conn, entry)

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        return self._read_audit("WHERE seq > ? ORDER BY seq LIMIT ?", [after, limit])

    def find_audit(self, wanted: AuditFilter, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Return up to `limit` matching entries among the next `MAX_AUDIT_SCANNED` after a position."""
        oldest, newest = self.audit_bounds()
        after = max(after, oldest - 1)
        until = self._last_of(after, MAX_AUDIT_SCANNED)
        conditions, parameters = _conditions(wanted)
        records = self._read_audit(
            f"WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq LIMIT ?", [after, until, *parameters, limit]
        )
        position = records[-1].seq if len(records) == limit and records else until
        return AuditPage(records=tuple(records), position=position, has_more=position < newest)

    def scan_audit(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int, max_scanned: int
    ) -> tuple[list[AuditRecord], int | None]:
        """Examine up to `max_scanned` entries; return up to `limit` that match, and the last position examined."""
        conditions, parameters = _conditions(wanted)
        # Read first, so that entries added in between are not skipped.
        oldest, newest = self.audit_bounds()
        if after is not None:
            start = max(min(after, newest), oldest - 1)
            last = self._last_of(start, max_scanned)
            found = self._read_audit(
                f"WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq LIMIT ?", [start, last, *parameters, limit]
            )
            return found, found[-1].seq if len(found) == limit else last
        end = newest + 1 if before is None else min(before, newest + 1)
        first = self._first_of(end, max_scanned)
        found = self._read_audit(
            f"WHERE seq < ? AND seq >= ?{conditions} ORDER BY seq DESC LIMIT ?", [end, first, *parameters, limit]
        )
        reached = found[-1].seq if len(found) == limit else first
        return found, reached if reached > oldest else None

    def last_audit(self, limit: int, wanted: AuditFilter | None = None) -> list[AuditRecord]:
        """Return the newest `limit` entries that match, oldest first."""
        conditions, parameters = _conditions(wanted or AuditFilter())
        return self._read_audit(f"WHERE 1{conditions} ORDER BY seq DESC LIMIT ?", [*parameters, limit])[::-1]

    def deleted_serial(self, device_id: str) -> str | None:
        """Return the serial of a deleted device; None if the audit log doesn't have it (any more)."""
        with self._reading() as connection:
            row = connection.execute(
                # The action is a literal, because only then does SQLite use the index.
                "SELECT serial FROM audit WHERE action = 'device_deleted' AND device_id = ? ORDER BY seq DESC LIMIT 1",
                (device_id,),
            ).fetchone()
        return row[0] if row else None

    def audit_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest and the newest entry; (0, 0) if there are none."""
        with self._reading() as connection:
            row = connection.execute("SELECT (SELECT min(seq) FROM audit), (SELECT max(seq) FROM audit)").fetchone()
        return row[0] or 0, row[1] or 0

    def drop_old_audit(self, *, days: int) -> int:
        """Delete up to `DROP_BATCH` entries older than this many days; return how many were deleted."""
        return self._drop_old(FLEETS, days) or self._drop_old(STRANGERS, days)

    def _drop_old(self, share: _Share, days: int) -> int:
        with self._reading() as connection:
            oldest = self._oldest(connection, share, 1)
        if not oldest or oldest[0][1] >= self._now() - days * DAY_MS:
            return 0
        with self._writing() as database:
            connection = database.conn
            cutoff = self._now() - days * DAY_MS
            # By position, up to the first entry to keep: retention deletes everything up to a position, so a share
            # never gets gaps, even if the clock was set.
            rows = self._oldest(connection, share, DROP_BATCH)
            staying = next((number for number, (_, at) in enumerate(rows) if at >= cutoff), len(rows))
            if staying:
                self._drop_audit(connection, share, rows[staying - 1][0])
            return staying

    def _oldest(self, connection: sqlite3.Connection, share: _Share, limit: int) -> list[tuple[int, int]]:
        """Return positions and times of a share's oldest remaining entries."""
        return connection.execute(
            f"SELECT seq, at FROM audit WHERE {share.condition}"  # noqa: S608 - ours
            f" AND seq > (SELECT {share.prefix}dropped_to FROM audit_retention) ORDER BY seq LIMIT ?",
            (limit,),
        ).fetchall()

    def _last_of(self, after: int, count: int) -> int:
        """Return the position of the last of the next `count` entries; the same position if there are none.

        Counts entries rather than positions, since any number of positions may be gaps.
        """
        with self._reading() as connection:
            row = connection.execute(
                "SELECT max(seq) FROM (SELECT seq FROM audit WHERE seq > ? ORDER BY seq LIMIT ?)", (after, count)
            ).fetchone()
        return after if row[0] is None else int(row[0])

    def _first_of(self, before: int, count: int) -> int:
        """Return the position of the first of `count` entries before a position; 0 if there are none."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT min(seq) FROM (SELECT seq FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?)", (before, count)
            ).fetchone()
        return int(row[0] or 0)

    def _read_audit(self, clause: str, parameters: list[int | str]) -> list[AuditRecord]:
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM audit {clause}", parameters).fetchall()  # noqa: S608 - the clause is ours
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
                by_stranger=bool(row[10]),
            )
            for row in rows
        ]

    def _audit(self, connection: sqlite3.Connection, entry: AuditEntry) -> None:
        cursor = connection.execute(
            "INSERT INTO audit (at, actor, action, outcome, reason, address, serial, device_id, key, by_stranger)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._now(),
                str(entry.actor),
                entry.action,
                entry.outcome,
                entry.reason,
                entry.address or (entry.actor.address if isinstance(entry.actor, Actor) else ""),
                entry.serial,
                entry.device_id,
                entry.key,
                int(entry.by_stranger),
            ),
        )
        newest = cursor.lastrowid
        if newest is not None and newest % TRIM_EVERY == 0:
            self._trim_audit(connection, newest)

    def _trim_audit(self, connection: sqlite3.Connection, newest: int) -> None:
        """Delete the oldest entries of each share over its bound: strangers displace only strangers' entries."""
        dropped, written, strangers_dropped = connection.execute(
            "SELECT dropped, strangers_written, strangers_dropped FROM audit_retention"
        ).fetchone()
        for share, surplus in (
            (FLEETS, newest - written - dropped - self._max_audit_rows),
            (STRANGERS, written - strangers_dropped - self._max_stranger_audit_rows),
        ):
            going = self._oldest(connection, share, min(surplus, TRIM_BATCH)) if surplus > 0 else []
            if going:
                self._drop_audit(connection, share, going[-1][0])

    def _drop_audit(self, connection: sqlite3.Connection, share: _Share, up_to: int) -> None:
        """Delete a share's oldest entries. A trigger only allows what was recorded in `audit_retention` before."""
        (start,) = connection.execute(f"SELECT {share.prefix}dropped_to FROM audit_retention").fetchone()  # noqa: S608 - ours
        connection.execute(
            f"UPDATE audit_retention SET {share.prefix}dropped_to = ?, {share.prefix}dropped_at = ?",  # noqa: S608 - ours
            (max(up_to, start), self._now()),
        )
        gone = connection.execute(
            f"DELETE FROM audit WHERE {share.condition} AND seq > ? AND seq <= ?",  # noqa: S608 - ours
            (start, up_to),
        ).rowcount
        connection.execute(
            f"UPDATE audit_retention SET {share.prefix}dropped = {share.prefix}dropped + ?",  # noqa: S608 - ours
            (gone,),
        )


def _conditions(wanted: AuditFilter) -> tuple[str, list[int | str]]:
    text, parameters = "", list[int | str]()
    for column in ("action", "outcome", "address", "serial", "device_id", "key"):
        value = getattr(wanted, column)
        if value is not None:
            text += f" AND {column} = ?"
            parameters.append(value)
    if wanted.actor is not None:
        # `cli` matches every `cli:USER`.
        text += " AND (actor = ? OR substr(actor, 1, ?) = ?)"
        parameters += [wanted.actor, len(wanted.actor) + 1, f"{wanted.actor}:"]
    if wanted.since is not None:
        text += " AND at >= ?"
        parameters.append(wanted.since)
    if wanted.until is not None:
        text += " AND at < ?"
        parameters.append(wanted.until)
    return text, parameters
