"""The audit in SQLite: what the database itself refuses, and what it finds by an index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import AuditEntry, SqliteStore
from fleetkey.registry.sqlite import audit as sqlite_audit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET seq = seq + 100",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 5",
        "INSERT OR REPLACE INTO audit SELECT seq, 0, '', '', '', '', '', NULL, NULL, NULL, 0 FROM audit WHERE seq = 5",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (99, 0, 'x', 'x', 'x', '', '')",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (-1, 0, 'x', 'x', 'x', '', '')",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (0, 0, 'x', 'x', 'x', '', '')",
        "UPDATE audit SET by_stranger = 1",
        "UPDATE audit_retention SET strangers_dropped_to = -1",
        "UPDATE audit_retention SET strangers_written = -1",
        "REPLACE INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (5, 0, 'x', 'x', 'x', '', '')",
        "DELETE FROM audit_retention",
        "UPDATE audit_retention SET dropped_to = -1",
    ],
)
def test_audit_is_append_only(tmp_path: Path, statement: str) -> None:
    """Nobody who comes with SQL changes, replaces or removes an entry: the database refuses."""
    path = tmp_path / "fleetkey.db"
    with closing(SqliteStore(path)) as store:
        for number in range(10):
            store.record(AuditEntry(actor="cli:ann", action="counted", outcome="ok", reason=str(number)))
        before = store.list_audit()
        with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        assert store.list_audit() == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit WHERE by_stranger = 0",
        "DELETE FROM audit WHERE by_stranger = 1",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (10, 0, 'x', 'x', 'x', '', '')",
    ],
)
def test_gaps_open_no_way_in(tmp_path: Path, statement: str) -> None:
    """What retention has dropped of strangers lets nobody delete anything else, nor put an entry into a gap."""
    path = tmp_path / "fleetkey.db"
    with closing(SqliteStore(path, max_stranger_audit_rows=5)) as store:
        store.record(AuditEntry(actor="cli:ann", action="device_tagged", outcome="ok"))
        stranger = AuditEntry(actor="device", action="register", outcome="refused", by_stranger=True)
        store.record_all(stranger for _ in range(2_100))
        before = store.last_audit(10_000)
        assert 10 not in [row.seq for row in before]
        with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        assert store.last_audit(10_000) == before


def test_trimming_uses_the_index(tmp_path: Path) -> None:
    """The oldest entries of strangers are found by their index: no walk through everybody's, however many there are."""
    with closing(SqliteStore(tmp_path / "fleetkey.db")) as store:
        explained: list[str] = []
        with store._reading() as connection:
            connection.set_trace_callback(explained.append)
            store._oldest(connection, sqlite_audit.STRANGERS, 5)
            connection.set_trace_callback(None)
            plan = connection.execute(f"EXPLAIN QUERY PLAN {explained[-1]}").fetchall()
        assert any("audit_of_strangers" in row[3] for row in plan)


def test_deleted_serial_index(tmp_path: Path) -> None:
    """The serial of a deleted device is found by an index, not by looking through the audit."""
    with closing(SqliteStore(tmp_path / "fleetkey.db")) as store, store._reading() as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT serial FROM audit WHERE action = 'device_deleted' AND device_id = ?"
            " ORDER BY seq DESC LIMIT 1",
            ("0" * 24,),
        ).fetchall()
    assert "USING INDEX audit_deleted_devices" in str(plan)
