"""Copies of a database that is being written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.operations import BackupError, sqlite_files
from fleetkey.operations.sqlite_files import Snapshot, check_file, seized

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of a few hundred pages with a write-ahead log."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER, filling TEXT)")
        connection.executemany("INSERT INTO numbers VALUES (?, ?)", [(number, "x" * 1000) for number in range(500)])
    return path


def _count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM numbers").fetchone()[0])


def test_copy_while_others_write(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is the state of one moment, is reached in one go, and holds nobody up."""
    monkeypatch.setattr(sqlite_files, "PAGES_PER_STEP", 1)
    reports: list[tuple[int, int]] = []
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as writer, closing(Snapshot(path)) as snapshot:

        def write(done: int, total: int) -> None:
            reports.append((done, total))
            writer.execute("INSERT INTO numbers VALUES (-1, 'later')")

        writer.execute("INSERT INTO numbers VALUES (-1, 'later')")
        snapshot.copy_to(tmp_path / "copy.db", write)
    assert _count(tmp_path / "copy.db") == 500
    assert _count(path) == 500 + 1 + len(reports)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[-1][0] == reports[-1][1] == len(reports)
    assert not (tmp_path / "copy.db-wal").exists()


def test_seized(path: Path) -> None:
    """Whoever has it open, even idle, keeps it from being taken; once taken, nobody else reads it."""
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM numbers").fetchone()
        with pytest.raises(BackupError, match="in use"), seized(path):
            pass
    with seized(path) as held:
        assert held is not None
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("SELECT count(*) FROM numbers")
    assert _count(path) == 500


def test_check_file_damaged(path: Path) -> None:
    """Damage is found, and named with its file."""
    _count(path)
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(BackupError, match=r"some\.db"):
        check_file(path)
