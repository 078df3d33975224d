"""The audit in SQLite: append-only, but for what its retention lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import Actor, AuditFilter, AuditPage, AuditRecord
from fleetkey.registry.sqlite.connection import SqliteBase

if TYPE_CHECKING:
    import sqlite3

    from fleetkey.registry.model import AuditEntry

__all__ = ["SqliteAudit"]

COLUMNS = "seq, at, actor, action, outcome, reason, address, serial, device_id, key"
MAX_AUDIT_SCANNED = 20_000
"""Entries that are held against a filter for one page; the page may be short then."""
DROP_BATCH = 5_000
"""Entries that are dropped for their age in one transaction."""
DAY_MS = 86_400_000


class SqliteAudit(SqliteBase):
    """Writing and reading the audit."""

    def record(self, entry: AuditEntry) -> None:
        """Append one audit entry."""
        with self._writing() as database:
            self._audit(database.conn, entry)

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        return self._read_audit("WHERE seq > ? ORDER BY seq LIMIT ?", [after, limit])

    def find_audit(self, wanted: AuditFilter, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Return up to `limit` entries that match, of the next `MAX_AUDIT_SCANNED` after a position."""
        oldest, newest = self.audit_bounds()
        after = max(after, oldest - 1)
        until = after + MAX_AUDIT_SCANNED
        conditions, parameters = _conditions(wanted)
        records = self._read_audit(
            f"WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq LIMIT ?", [after, until, *parameters, limit]
        )
        position = records[-1].seq if len(records) == limit and records else min(until, max(newest, after))
        return AuditPage(records=tuple(records), position=position, has_more=position < newest)

    def scan_audit(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int, max_scanned: int
    ) -> tuple[list[AuditRecord], int | None]:
        """Look at up to `max_scanned` entries and return up to `limit` that match, and the last position looked at."""
        conditions, parameters = _conditions(wanted)
        # Asked before reading: what is added in between must not be passed over.
        oldest, newest = self.audit_bounds()
        if after is not None:
            # Positions have gaps only where rows were dropped, at the old end.
            start = max(min(after, newest), oldest - 1)
            found = self._read_audit(
                f"WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq LIMIT ?",
                [start, start + max_scanned, *parameters, limit],
            )
            if len(found) == limit:
                return found, found[-1].seq
            return found, max(start, min(start + max_scanned, newest))
        end = newest + 1 if before is None else min(before, newest + 1)
        found = self._read_audit(
            f"WHERE seq < ? AND seq >= ?{conditions} ORDER BY seq DESC LIMIT ?",
            [end, end - max_scanned, *parameters, limit],
        )
        reached = found[-1].seq if len(found) == limit else end - max_scanned
        return found, reached if reached > oldest else None

    def last_audit(self, limit: int, wanted: AuditFilter | None = None) -> list[AuditRecord]:
        """Return the newest `limit` entries that match, oldest first."""
        conditions, parameters = _conditions(wanted or AuditFilter())
        return self._read_audit(f"WHERE 1{conditions} ORDER BY seq DESC LIMIT ?", [*parameters, limit])[::-1]

    def deleted_serial(self, device_id: str) -> str | None:
        """Return the serial of a device that was deleted; None if the audit doesn't have it, or not any more."""
        with self._reading() as connection:
            row = connection.execute(
                # The action literally: only so SQLite sees that the index is for this.
                "SELECT serial FROM audit WHERE action = 'device_deleted' AND device_id = ? ORDER BY seq DESC LIMIT 1",
                (device_id,),
            ).fetchone()
        return row[0] if row else None

    def audit_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest entry; (0, 0) when there is none."""
        with self._reading() as connection:
            row = connection.execute("SELECT (SELECT min(seq) FROM audit), (SELECT max(seq) FROM audit)").fetchone()
        return row[0] or 0, row[1] or 0

    def drop_old_audit(self, *, days: int) -> int:
        """Drop up to `DROP_BATCH` entries that are older than so many days; return how many."""
        if self._oldest_audit_at() >= self._now() - days * DAY_MS:
            return 0
        with self._writing() as database:
            connection = database.conn
            cutoff = self._now() - days * DAY_MS
            # In order of position up to the first that stays: what is kept has no holes, also if the clock was set.
            rows = connection.execute("SELECT seq, at FROM audit ORDER BY seq LIMIT ?", (DROP_BATCH,)).fetchall()
            staying = next((number for number, (_, at) in enumerate(rows) if at >= cutoff), len(rows))
            if staying:
                self._drop_audit(connection, rows[staying - 1][0])
            return staying

    def _oldest_audit_at(self) -> int:
        with self._reading() as connection:
            row = connection.execute("SELECT at FROM audit ORDER BY seq LIMIT 1").fetchone()
        return row[0] if row else self._now()

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
            )
            for row in rows
        ]

    def _audit(self, connection: sqlite3.Connection, entry: AuditEntry) -> None:
        cursor = connection.execute(
            "INSERT INTO audit (at, actor, action, outcome, reason, address, serial, device_id, key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            ),
        )
        surplus = self._surplus("audit", cursor.lastrowid)
        if surplus:
            self._drop_audit(connection, surplus)

    def _drop_audit(self, connection: sqlite3.Connection, up_to: int) -> None:
        """Drop the oldest entries. The table's trigger lets go only of what is noted in `audit_retention` before."""
        connection.execute(
            "UPDATE audit_retention SET dropped_to = ?, dropped_at = ? WHERE dropped_to < ?",
            (up_to, self._now(), up_to),
        )
        connection.execute("DELETE FROM audit WHERE seq <= ?", (up_to,))


def _conditions(wanted: AuditFilter) -> tuple[str, list[int | str]]:
    text, parameters = "", list[int | str]()
    for column in ("action", "outcome", "address", "serial", "device_id", "key"):
        value = getattr(wanted, column)
        if value is not None:
            text += f" AND {column} = ?"
            parameters.append(value)
    if wanted.actor is not None:
        # `cli` is every `cli:USER`.
        text += " AND (actor = ? OR substr(actor, 1, ?) = ?)"
        parameters += [wanted.actor, len(wanted.actor) + 1, f"{wanted.actor}:"]
    if wanted.since is not None:
        text += " AND at >= ?"
        parameters.append(wanted.since)
    if wanted.until is not None:
        text += " AND at < ?"
        parameters.append(wanted.until)
    return text, parameters
