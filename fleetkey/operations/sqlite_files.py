"""SQLite files as wholes: copied while they are in use, checked, taken for oneself, written over."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from fleetkey.operations.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Snapshot", "check_file", "check_same_shape", "seized", "write_over"]

PAGES_PER_STEP = 1_000
"""Pages copied between two reports; a page has 4 KiB."""
BUSY_SECONDS = 10.0
"""For a lock that another process holds for a moment."""


class Snapshot:
    """A file as it is at one moment; writers go on, and what they commit from now on isn't in it."""

    def __init__(self, path: Path) -> None:
        """Take the snapshot. Raises `BackupError`."""
        self._path = path
        with _translated(path):
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA query_only=ON")
            # A read transaction in the write-ahead log sees one state until it ends (SQLite, Isolation).
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def copy_to(self, target: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Copy it into a new file with SQLite's online backup, and check the copy. Raises `BackupError`."""

        def report(_status: int, remaining: int, total: int) -> None:
            if on_progress is not None:
                on_progress(total - remaining, total)

        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _translated(target), closing(sqlite3.connect(target, isolation_level=None)) as copy:
            self._connection.backup(copy, pages=PAGES_PER_STEP, progress=report, sleep=0.0)
            copy.execute("PRAGMA journal_mode=DELETE")
        check_file(target)

    def close(self) -> None:
        """End it, so that the log can be written back."""
        self._connection.close()


def check_file(path: Path) -> None:
    """Look through a file. Raises `BackupError` if it is no database or is damaged."""
    if path.stat().st_size == 0:
        msg = f"{path.name} is empty"
        raise BackupError(msg)
    with _translated(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        msg = f"{path.name} is damaged: {found}"
        raise BackupError(msg)


def check_same_shape(path: Path, model: Path) -> None:
    """See that a file has the tables, columns, indexes and triggers of another one, and no others.

    By their names: how SQLite writes down what made them differs from one version to the next.

    Raises:
        BackupError: says what is missing, or doesn't belong there.
    """
    found, wanted = _shape(path), _shape(model)
    if missing := sorted(wanted - found):
        msg = f"{' '.join(missing[0])} is missing"
        raise BackupError(msg)
    if more := sorted(found - wanted):
        msg = f"{' '.join(more[0])} doesn't belong there"
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
    """Lend a file that nobody else has open, and keep everybody out meanwhile; None if there is none.

    Raises:
        BackupError: somebody has it open, or it is no database.
    """
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    with _translated(path), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            # Exclusive before the first look: with a write-ahead log, whoever has the file open holds a shared lock.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise
            msg = f"{path} is in use; stop the server, and other commands, first"
            raise BackupError(msg) from None
        yield connection


def write_over(target: sqlite3.Connection, source: Path) -> None:
    """Write a file's content over a seized one, in one transaction: after a power cut it is the one or the other."""
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
