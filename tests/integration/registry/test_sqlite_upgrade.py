"""A registry of the version before opens with all that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from fleetkey.registry import DevicePolicy, DeviceState, KeyIssued, SqliteStore
from fleetkey.registry.sqlite import schema
from tests.unit.registry.store_rig import SECRET_HASH, issue, new_request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
