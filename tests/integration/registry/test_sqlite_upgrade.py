"""A registry of the version before opens with all that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from fleetkey.registry import AuditEntry, DevicePolicy, DeviceState, KeyIssued, SqliteStore
from fleetkey.registry.sqlite import schema
from tests.unit.registry.store_rig import SECRET_HASH, issue, new_request

if TYPE_CHECKING:
    from pathlib import Path

DEVICE, KEY = "a" * 24, "b" * 32
INSERT_KEY = """
INSERT INTO access_keys (key, kind, status, secret_hash, device_id, created_at)
VALUES (?, 'device', 'active', ?, ?, 8)
"""
ROWS = (
    ("INSERT INTO serials VALUES ('SN-1', 5)", ()),
    ("INSERT INTO devices VALUES (?, 'SN-1', 'pending', 6, 7)", (DEVICE,)),
    ("INSERT INTO devices VALUES (?, 'SN-2', 'active', 6, 7)", ("c" * 24,)),
    ("INSERT INTO device_tags VALUES (?, 'site', 'north')", (DEVICE,)),
    (INSERT_KEY, (KEY, SECRET_HASH, "c" * 24)),
)


def _make_first_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a registry with the first step alone, as the version before did."""
    with monkeypatch.context() as patch:
        patch.setattr(schema.migrations, "_migrations", schema.migrations._migrations[:1])
        SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement, values in ROWS:
            connection.execute(statement, values)
        assert "policy" not in [row[1] for row in connection.execute("PRAGMA table_info(devices)")]


def test_upgrade_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serials, devices, tags and keys are there, follow the settings, and go on as before."""
    path = tmp_path / "fleetkey.db"
    _make_first_version(path, monkeypatch)
    with closing(SqliteStore(path)) as store:
        device = store.get_device(DEVICE)
        assert (device.serial, device.state, device.tags) == ("SN-1", DeviceState.PENDING, {"site": "north"})
        assert (device.created_at, device.updated_at) == (6, 7)
        assert (device.name, device.attributes, device.profile, device.policy) == ("", {}, None, DevicePolicy())
        login = store.find_login(KEY)
        assert login is not None
        assert (login.sources, login.policy, login.device_id) == ((), DevicePolicy(), "c" * 24)
        listed = store.find_serial("SN-1")
        assert listed is not None
        assert (listed.name, listed.profile, listed.tags) == ("", None, {})
        assert (store.clock_mark(), store.recorded_at()) == (None, None)
        _, device_id = issue(store, "SN-2")
        assert device_id == "c" * 24
        assert isinstance(store.issue_device_key(new_request("SN-3")), KeyIssued)
        assert store.set_device_state(DEVICE, DeviceState.REJECTED, actor="test").state is DeviceState.REJECTED
    with closing(SqliteStore(path)) as again:
        assert again.count_devices() == 3


AUDITED = (
    # Who, what, how it ended, why, and about which device; whether a stranger caused it.
    ("device", "register", "refused", "allowlist:not_listed", None, True),
    ("device", "register", "refused", "malformed_body", None, True),
    ("device", "register", "refused", "device_disabled", DEVICE, False),
    ("device", "register", "ok", "created", DEVICE, False),
    ("device", "register", "pending", "", DEVICE, False),
    ("api", "api_request", "refused", "token_unknown", None, True),
    ("api:ci:1", "api_request", "refused", "needs_role_admin", None, False),
    ("cli:ann", "serials_added", "ok", "added=1", None, False),
    ("application", "key_connected", "ok", "replaced=0", None, False),
)


def test_upgrade_tells_strangers_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of before are told apart by who was proven; bounds hold from there on, also where some were dropped."""
    path = tmp_path / "fleetkey.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema.migrations, "_migrations", schema.migrations._migrations[:7])
        SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(300):
            connection.executemany(
                "INSERT INTO audit (at, actor, action, outcome, reason, address, device_id)"
                " VALUES (1, ?, ?, ?, ?, '', ?)",
                [row[:5] for row in AUDITED],
            )
        # As retention did.
        connection.execute("UPDATE audit_retention SET dropped_to = 450")
        connection.execute("DELETE FROM audit WHERE seq <= 450")
    with closing(SqliteStore(path, max_audit_rows=500, max_stranger_audit_rows=200)) as store:
        rows = store.last_audit(10_000)
        assert len(rows) == 2_250
        for row in rows:
            assert (
                row.actor, row.action, row.outcome, row.reason, row.device_id, row.by_stranger
            ) == AUDITED[(row.seq - 1) % len(AUDITED)]  # fmt: skip
        with closing(sqlite3.connect(path)) as other:
            for statement in ("DELETE FROM audit WHERE seq = 500", "UPDATE audit SET by_stranger = 0"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    other.execute(statement)
        entry = AuditEntry(actor="cli:ann", action="serials_added", outcome="ok")
        store.record_all([entry] * 300)
        left = store.last_audit(10_000)
        assert [row.by_stranger for row in left].count(True) == 200
        assert [row.by_stranger for row in left].count(False) == 500
        assert store.audit_bounds()[1] == 3_000


def test_delete_leaves_no_rows(tmp_path: Path) -> None:
    """A deleted device leaves neither tags nor attributes behind."""
    path = tmp_path / "fleetkey.db"
    with closing(SqliteStore(path)) as store:
        _, device_id = issue(store, tags={"a": "1"}, attributes={"b": "2"})
        store.delete_device(device_id, actor="test")
    with closing(sqlite3.connect(path)) as connection:
        for table in ("devices", "device_tags", "device_attributes"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - ours


def test_upgrade_makes_what_a_new_registry_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and indexes are the same, whichever way a registry came to them."""
    _make_first_version(tmp_path / "old.db", monkeypatch)
    found = []
    for name in ("old.db", "new.db"):
        SqliteStore(tmp_path / name).close()
        with closing(Database(tmp_path / name)) as database:
            found.append(sorted(database.conn.execute("SELECT type, name, sql FROM sqlite_master").fetchall()))
    assert [(kind, name) for kind, name, _ in found[0]] == [(kind, name) for kind, name, _ in found[1]]
