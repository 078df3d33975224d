"""The time in SQLite: what the store's own clock says, and how far the server's had come."""

from __future__ import annotations

from fleetkey.registry.clock import ClockMark
from fleetkey.registry.sqlite.connection import SqliteBase

__all__ = ["SqliteClock"]

MILLISECONDS = 1000


class SqliteClock(SqliteBase):
    """Telling, storing and finding the time."""

    def now(self) -> float:
        """Return the time by which everything in the store ends."""
        return self._clock()

    def save_clock(self, mark: ClockMark) -> None:
        """Store how far a server's clock has come."""
        times = (round(each * MILLISECONDS) for each in (mark.now, mark.lasted, mark.monotonic))
        with self._writing() as database:
            database.conn.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)", (*times, mark.boot))

    def clock_mark(self) -> ClockMark | None:
        """Return what was stored last; None if nothing was."""
        with self._reading() as connection:
            row = connection.execute("SELECT now_at, lasted_at, monotonic_ms, boot FROM clock").fetchone()
        if row is None:
            return None
        now, lasted, monotonic = (each / MILLISECONDS for each in row[:3])
        return ClockMark(now=now, lasted=lasted, monotonic=monotonic, boot=row[3])

    def recorded_at(self) -> float | None:
        """Return when anything was recorded last; None if nothing was."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT max(coalesce((SELECT at FROM audit ORDER BY seq DESC LIMIT 1), 0),"
                " coalesce((SELECT at FROM changes ORDER BY seq DESC LIMIT 1), 0))"
            ).fetchone()
        return float(row[0] / MILLISECONDS) if row[0] else None
