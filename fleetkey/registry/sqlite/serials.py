"""The allow-list in SQLite."""

from __future__ import annotations

import itertools
import sqlite3
import time
from typing import TYPE_CHECKING

from fleetkey.registry.errors import ConflictingSerialError, NotFoundError
from fleetkey.registry.ids import parse_serial
from fleetkey.registry.model import ListedSerial, Scan, SerialConflict, SerialsAdded
from fleetkey.registry.plans import audit_entries
from fleetkey.registry.sqlite.journal import SqliteJournal
from fleetkey.registry.sqlite.rows import details_text, listed_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Entry = str | ListedSerial

__all__ = ["SqliteSerials"]

STAGE_BATCH = 10_000
PAGE = 1_000
SCAN = """
SELECT s.serial, s.details, EXISTS (SELECT 1 FROM devices d WHERE d.serial = s.serial)
FROM serials s WHERE s.serial > ? ORDER BY s.serial LIMIT ?
"""
MAX_SHOWN_CONFLICTS = 10
"""How many contradicting serials of an addition are searched for."""


class SqliteSerials(SqliteJournal):
    """Adding, reading and removing serials."""

    def add_serials(
        self,
        serials: Iterable[Entry | tuple[int, Entry]],
        *,
        actor: str,
        on_progress: Callable[[int], None] | None = None,
        check: Callable[[Sequence[SerialConflict]], None] | None = None,
    ) -> SerialsAdded:
        """Add serials, all or none, in bounded memory.

        They are first collected in a temporary table on a separate connection, so that the registry is locked only for
        the last step, and sorted, so that this step writes each page once.
        """
        with self._translated():
            self._refuse_closed()
            stage = self._connect()
            try:
                staged, has_details = self._stage(stage.conn, serials, on_progress)
                (check or _refuse)(_conflicts(stage.conn) if has_details else [])
                added = self._commit_stage(stage.conn, staged, actor, has_details=has_details)
            finally:
                stage.close()
        self._tell_committed()
        return added

    def _stage(
        self,
        connection: sqlite3.Connection,
        serials: Iterable[Entry | tuple[int, Entry]],
        on_progress: Callable[[int], None] | None,
    ) -> tuple[int, bool]:
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute("CREATE TEMP TABLE stage (entry INTEGER PRIMARY KEY, serial TEXT NOT NULL, details TEXT)")
        count, has_details = 0, False
        remaining = iter(serials)
        connection.execute("BEGIN")
        while batch := [_row(entry) for entry in itertools.islice(remaining, STAGE_BATCH)]:
            connection.executemany("INSERT INTO stage (entry, serial, details) VALUES (?, ?, ?)", batch)
            has_details = has_details or any(details is not None for *_, details in batch)
            count += len(batch)
            if on_progress:
                on_progress(count)
        connection.execute("COMMIT")
        return count, has_details

    def _commit_stage(
        self, connection: sqlite3.Connection, staged: int, actor: str, *, has_details: bool
    ) -> SerialsAdded:
        distinct = connection.execute("SELECT count(DISTINCT serial) FROM temp.stage").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")
        try:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO serials (serial, added_at, details)"
                " SELECT serial, ?, details FROM temp.stage ORDER BY serial",
                (self._now(),),
            )
            added = cursor.rowcount
            replaced = 0
            if has_details:
                replaced = connection.execute(
                    "UPDATE serials SET details = s.details FROM temp.stage s"
                    " WHERE s.serial = serials.serial AND s.details IS NOT NULL AND serials.details IS NOT s.details"
                ).rowcount
            few = (
                []
                if staged > audit_entries.MAX_NAMED_SERIALS
                else connection.execute("SELECT DISTINCT serial FROM temp.stage").fetchall()
            )
            result = SerialsAdded(added=added, known=distinct - added, replaced=replaced)
            self._audit(connection, audit_entries.serials_added(result, [serial for (serial,) in few], actor=actor))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def has_serial(self, serial: str) -> bool:
        """Whether the serial may register."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM serials WHERE serial = ?", (serial,)).fetchone() is not None

    def find_serial(self, serial: str) -> ListedSerial | None:
        """Return a listed serial with what its device gets; None if it is not listed."""
        with self._reading() as connection:
            row = connection.execute("SELECT serial, details FROM serials WHERE serial = ?", (serial,)).fetchone()
        return listed_from(*row) if row else None

    def list_serials(self, *, after: str = "", limit: int = 100) -> list[ListedSerial]:
        """Return up to `limit` serials after `after`, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT serial, details FROM serials WHERE serial > ? ORDER BY serial LIMIT ?", (after, limit)
            ).fetchall()
        return [listed_from(*row) for row in rows]

    def scan_serials(
        self,
        *,
        after: str = "",
        limit: int = 100,
        max_scanned: int,
        used: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> Scan[ListedSerial]:
        """Examine up to `max_scanned` serials after `after` and return up to `limit` that match."""
        ends = None if max_seconds is None else time.monotonic() + max_seconds
        found: list[ListedSerial] = []
        scanned, reached, is_stopped = 0, after, False
        with self._reading() as connection:
            cursor = connection.execute(SCAN, (after, max_scanned))
            for serial, details, is_used in cursor:
                scanned, reached = scanned + 1, serial
                if used in {None, bool(is_used)} and (matches is None or matches(serial)):
                    found.append(listed_from(serial, details))
                    if len(found) == limit:
                        break
                if ends is not None and time.monotonic() >= ends:
                    is_stopped = True
                    break
            cursor.close()
        is_end = len(found) < limit and scanned < max_scanned and not is_stopped
        return Scan(items=found, reached=None if is_end else reached, scanned=scanned)

    def iter_serials(self) -> Iterator[str]:
        """Yield the serials in order, a page at a time, so that no read stays open while the caller works."""
        after = ""
        while True:
            with self._reading() as connection:
                page = connection.execute(
                    "SELECT serial FROM serials WHERE serial > ? ORDER BY serial LIMIT ?", (after, PAGE)
                ).fetchall()
            for (serial,) in page:
                yield serial
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def remove_serial(self, serial: str, *, actor: str) -> None:
        """Remove a serial from the list; a device that registered with it stays."""
        with self._writing() as database:
            if not database.conn.execute("DELETE FROM serials WHERE serial = ?", (serial,)).rowcount:
                raise NotFoundError("listed serial", serial)
            self._audit(database.conn, audit_entries.serial_removed(serial, actor=actor))

    def count_serials(self) -> int:
        """Return how many serials are listed."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM serials").fetchone()[0])


def _row(entry: Entry | tuple[int, Entry]) -> tuple[int | None, str, str | None]:
    number, said = entry if isinstance(entry, tuple) else (None, entry)
    if isinstance(said, str):
        return number, parse_serial(said), None
    return number, parse_serial(said.serial), details_text(said)


def _conflicts(connection: sqlite3.Connection) -> list[SerialConflict]:
    """Return entries that contradict each other about a serial, since it is unclear which one is meant."""
    connection.execute("CREATE INDEX temp.stage_by_serial ON stage (serial, details)")
    rows = connection.execute(
        "SELECT serial, min(entry) FROM temp.stage GROUP BY serial"
        " HAVING count(*) > 1 AND (count(DISTINCT details) > 1 OR count(details) NOT IN (0, count(*)))"
        " ORDER BY min(entry) LIMIT ?",
        (MAX_SHOWN_CONFLICTS,),
    ).fetchall()
    other = (
        "SELECT min(entry) FROM temp.stage WHERE serial = ?"
        " AND details IS NOT (SELECT details FROM temp.stage WHERE entry = ?)"
    )
    return [
        SerialConflict(serial=serial, first=first, second=connection.execute(other, (serial, first)).fetchone()[0])
        for serial, first in rows
    ]


def _refuse(conflicts: Sequence[SerialConflict]) -> None:
    if conflicts:
        raise ConflictingSerialError(conflicts[0])
