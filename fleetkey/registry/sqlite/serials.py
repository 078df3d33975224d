"""The allow-list in SQLite."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.ids import parse_serial
from fleetkey.registry.model import AuditEntry, SerialsAdded
from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["SqliteSerials"]

STAGE_BATCH = 10_000
PAGE = 1_000


class SqliteSerials(SqliteJournal):
    """Adding, asking and removing serials."""

    def add_serials(
        self, serials: Iterable[str], *, actor: str, on_progress: Callable[[int], None] | None = None
    ) -> SerialsAdded:
        """Add serials, all or none, in bounded memory.

        They are first collected in a temporary table of a connection of their own, so the registry is locked for the
        last step only, and sorted, so that step writes each page once.
        """
        with self._translated():
            self._refuse_closed()
            stage = self._connect()
            try:
                staged = self._stage(stage.conn, serials, on_progress)
                added = self._commit_stage(stage.conn, staged, actor)
            finally:
                stage.close()
        self._tell_committed()
        return added

    def _stage(
        self, connection: sqlite3.Connection, serials: Iterable[str], on_progress: Callable[[int], None] | None
    ) -> int:
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute("CREATE TEMP TABLE stage (serial TEXT NOT NULL)")
        count = 0
        remaining = iter(serials)
        connection.execute("BEGIN")
        while batch := [(parse_serial(serial),) for serial in itertools.islice(remaining, STAGE_BATCH)]:
            connection.executemany("INSERT INTO stage VALUES (?)", batch)
            count += len(batch)
            if on_progress:
                on_progress(count)
        connection.execute("COMMIT")
        return count

    def _commit_stage(self, connection: sqlite3.Connection, staged: int, actor: str) -> SerialsAdded:
        connection.execute("BEGIN IMMEDIATE")
        try:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO serials SELECT serial, ? FROM temp.stage ORDER BY serial", (self._now(),)
            )
            added = cursor.rowcount
            single = connection.execute("SELECT serial FROM temp.stage LIMIT 1").fetchone() if staged == 1 else None
            self._audit(
                connection,
                AuditEntry(
                    actor=actor,
                    action="serials_added",
                    outcome="ok",
                    reason=f"added={added} known={staged - added}",
                    serial=single[0] if single else None,
                ),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return SerialsAdded(added=added, known=staged - added)

    def has_serial(self, serial: str) -> bool:
        """Whether the serial may register."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM serials WHERE serial = ?", (serial,)).fetchone() is not None

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
        """Take a serial off the list; a device that registered with it stays."""
        with self._writing() as database:
            if not database.conn.execute("DELETE FROM serials WHERE serial = ?", (serial,)).rowcount:
                raise NotFoundError("listed serial", serial)
            self._audit(database.conn, AuditEntry(actor=actor, action="serial_removed", outcome="ok", serial=serial))

    def count_serials(self) -> int:
        """Return how many serials are listed."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM serials").fetchone()[0])
