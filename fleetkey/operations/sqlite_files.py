"""Whole SQLite files: copying them while in use, checking, locking and replacing them."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from fleetkey.operations.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Snapshot", "check_file", "check_in_place", "check_same_shape", "seized", "write_over"]

PAGES_PER_STEP = 1_000
"""How many pages are copied between two progress reports; a page is 4 KiB."""
BUSY_SECONDS = 10.0
"""How long to wait for a lock that another process holds briefly."""
STEPS_PER_LOOK = 10_000
"""How many instructions of SQLite's virtual machine run between two looks at the clock."""


class Snapshot:
    """A file's state at one moment; writers continue, and their later commits are not in it."""

    def __init__(self, path: Path) -> None:
        """Take the snapshot. Raises `BackupError`."""
        self._path = path
        with _translated(path):
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA query_only=ON")
            # With a write-ahead log, a read transaction sees one state until it ends (SQLite, Isolation).
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def copy_to(self, target: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Copy it to a new file with SQLite's online backup, and check the copy. Raises `BackupError`."""

        def report(_status: int, remaining: int, total: int) -> None:
            if on_progress is not None:
                on_progress(total - remaining, total)

        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _translated(target), closing(sqlite3.connect(target, isolation_level=None)) as copy:
            self._connection.backup(copy, pages=PAGES_PER_STEP, progress=report, sleep=0.0)
            copy.execute("PRAGMA journal_mode=DELETE")
        check_file(target)

    def close(self) -> None:
        """End the snapshot, so that the log can be written back."""
        self._connection.close()


def check_file(path: Path) -> None:
    """Check a file. Raises `BackupError` if it is not a database or is damaged."""
    if path.stat().st_size == 0:
        msg = f"{path.name} is empty"
        raise BackupError(msg)
    with _translated(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        msg = f"{path.name} is damaged: {found}"
        raise BackupError(msg)


def check_in_place(path: Path, *, max_seconds: float) -> bool:
    """Check a file that may be in use, without writing to it; return whether all of it was checked in that time.

    Raises:
        BackupError: it is not a database or is damaged.
    """
    end = time.monotonic() + max_seconds
    with (
        _translated(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection,
    ):
        connection.set_progress_handler(lambda: int(time.monotonic() > end), STEPS_PER_LOOK)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return False
            raise
    if found != "ok":
        msg = f"{path} is damaged: {found}"
        raise BackupError(msg)
    return True


def check_same_shape(path: Path, model: Path) -> None:
    """Check that a file has exactly the tables, columns, indexes and triggers of another.

    Compares names, because the SQL that SQLite stores differs between versions.

    Raises:
        BackupError: says what is missing or unexpected.
    """
    found, wanted = _shape(path), _shape(model)
    if missing := sorted(wanted - found):
        msg = f"{' '.join(missing[0])} is missing"
        raise BackupError(msg)
    if more := sorted(found - wanted):
        msg = f"{' '.join(more[0])} is unexpected"
        raise BackupError(msg)


def _shape(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        parts: set[tuple[str, ...]] = {(kind, name) for kind, name in rows}
        tables = [name for kind, name in parts if kind == "table"]
        for table in tables:
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            parts |= {("column", table, name) for (name,) in columns}
        return parts


@contextmanager
def seized(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Provide exclusive access to a file that is not in use; None if it doesn't exist.

    Raises:
        BackupError: the file is in use, or is not a database.
    """
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    with _translated(path), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            # Exclusive before the first read: with a write-ahead log, every process using the file holds a shared lock.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise
            msg = f"{path} is in use; first stop the server and other commands"
            raise BackupError(msg) from None
        yield connection


def write_over(target: sqlite3.Connection, source: Path) -> None:
    """Replace the content of a locked file in one transaction: after a power cut, it has the old or the new content."""
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.backup(target)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        msg = f"{path} can't be used: {error}"
        raise BackupError(msg) from None
    except OSError as error:
        msg = f"{path} can't be used: {error.strerror}"
        raise BackupError(msg) from None
