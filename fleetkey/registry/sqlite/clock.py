"""The time in SQLite: the store's clock, and the last state of the server's."""

from __future__ import annotations

from fleetkey.registry.clock import ClockMark
from fleetkey.registry.sqlite.connection import SqliteBase

__all__ = ["SqliteClock"]

MILLISECONDS = 1000


class SqliteClock(SqliteBase):
    """Reading and storing the time."""

    def now(self) -> float:
        """Return the time by which everything in the store expires."""
        return self._clock()

    def save_clock(self, mark: ClockMark) -> None:
        """Store the state of a server's clock."""
        times = (round(each * MILLISECONDS) for each in (mark.now, mark.lasted, mark.monotonic))
        with self._writing() as database:
            database.conn.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)", (*times, mark.boot))

    def clock_mark(self) -> ClockMark | None:
        """Return the last stored state; None if there is none."""
        with self._reading() as connection:
            row = connection.execute("SELECT now_at, lasted_at, monotonic_ms, boot FROM clock").fetchone()
        if row is None:
            return None
        now, lasted, monotonic = (each / MILLISECONDS for each in row[:3])
        return ClockMark(now=now, lasted=lasted, monotonic=monotonic, boot=row[3])

    def recorded_at(self) -> float | None:
        """Return when anything was last recorded; None if nothing was."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT max(coalesce((SELECT at FROM audit ORDER BY seq DESC LIMIT 1), 0),"
                " coalesce((SELECT at FROM changes ORDER BY seq DESC LIMIT 1), 0))"
            ).fetchone()
        return float(row[0] / MILLISECONDS) if row[0] else None
