"""A `broker.db` of before messages had a table of their own: everything in it outlives the upgrade, however it ends."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.store.schema import open_broker_database
from tests.support.fleet import running
from tests.support.packets import Kind, acknowledgement, number_of, publish
from tests.support.versions import only_3_1_1
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials, Fleet

OLDER_SCHEMA = """
CREATE TABLE "_sqlite_migrations" ("id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name" ON "_sqlite_migrations" ("migration_set", "name");
INSERT INTO "_sqlite_migrations" VALUES
  (1, 'fleetkey-broker', '0001_sessions', '2026-01-01 00:00:00+00:00'),
  (2, 'fleetkey-broker', '0002_owed', '2026-01-01 00:00:00+00:00'),
  (3, 'fleetkey-broker', '0003_sent', '2026-01-01 00:00:00+00:00');
CREATE TABLE sessions (
  row INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, expires_at REAL);
CREATE TABLE subscriptions (
  session INTEGER NOT NULL, filter TEXT NOT NULL, qos INTEGER NOT NULL, is_owed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (session, filter)) WITHOUT ROWID;
CREATE TABLE deliveries (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  qos INTEGER NOT NULL, packet_id INTEGER NOT NULL DEFAULT 0, is_released INTEGER NOT NULL DEFAULT 0,
  is_retained INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0);
CREATE INDEX deliveries_by_session ON deliveries (session);
CREATE TABLE inbound (
  session INTEGER NOT NULL, packet_id INTEGER NOT NULL, PRIMARY KEY (session, packet_id)) WITHOUT ROWID;
CREATE TABLE retained (
  topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID;
"""
DEVICE, BACKEND = 3, 8
"""Rows of their sessions."""
LONG = bytes(range(256)) * 100
TABLES = ("sessions", "subscriptions", "deliveries", "inbound", "retained", "_sqlite_migrations")
STATEMENTS = 90
"""More than the upgrade has."""
UPGRADE = """
import os, signal, sqlite3, sys
from pathlib import Path
from fleetkey.broker.store.schema import open_broker_database

connect = sqlite3.connect
for after, path in enumerate(sys.argv[1:]):
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        continue
    left = after

    def count(_):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced
    open_broker_database(Path(path))
    os._exit(0)
"""
"""Upgrades each file in a process of its own, which is killed one statement later than the one before."""


def _write_older(path: Path, device: str, device_owner: str, backend: str, backend_owner: str, topic: str) -> None:
    """Write what an older Fleetkey had stored of two sessions that are away."""
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("PRAGMA journal_mode=WAL")
        older.executescript(OLDER_SCHEMA)
        older.execute("BEGIN")
        older.executemany(
            "INSERT INTO sessions VALUES (?, ?, ?, NULL)",
            [(DEVICE, device, device_owner), (BACKEND, backend, backend_owner)],
        )
        older.executemany(
            "INSERT INTO subscriptions VALUES (?, ?, ?, ?)",
            [(DEVICE, f"{topic}/in", 2, 0), (DEVICE, f"{topic}/kept/+", 1, 1), (BACKEND, f"{topic}/in", 1, 0)],
        )
        older.executemany(
            "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (11, DEVICE, f"{topic}/in", b"sent second", 1, 5, 0, 0, 22),
                (12, DEVICE, f"{topic}/in", b"", 2, 9, 1, 0, 21),
                (13, DEVICE, f"{topic}/in", b"retained", 1, 6, 0, 1, 23),
                (14, DEVICE, f"{topic}/in", LONG, 2, 0, 0, 0, 0),
                (15, BACKEND, f"{topic}/in", LONG, 1, 0, 0, 0, 0),
                (16, DEVICE, f"{topic}/in", b"last", 1, 0, 0, 0, 0),
            ],
        )
        older.execute("INSERT INTO inbound VALUES (?, 77)", (DEVICE,))
        older.executemany(
            "INSERT INTO retained VALUES (?, ?, ?, ?)",
            [(f"{topic}/kept/a", LONG, 1, device_owner), (f"{topic}/kept/b", b"b", 2, backend_owner)],
        )
        older.execute("COMMIT")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that its tests end."""
    with running(tmp_path_factory.mktemp("server")) as fleet:
        yield fleet


@pytest.fixture
def upgraded(fleet: Fleet) -> tuple[Credentials, Credentials]:
    """Start the server over the older file, and return whose sessions are in it."""
    device, backend = fleet.device(), fleet.application(publish=("#",), subscribe=("#",))
    fleet.server.terminate()
    path = fleet.server.data_dir / "broker.db"
    for file in path.parent.glob("broker.db*"):
        file.unlink()
    _write_older(path, device.client_id, device.device_id, backend.client_id, backend.key, device.topic("x"))
    fleet.server.start()
    return device, backend


def test_upgraded(fleet: Fleet, upgraded: tuple[Credentials, Credentials]) -> None:
    """Unacknowledged messages come again with id and order, then what waits, then what is owed; all is known still."""
    device, backend = upgraded
    topic = device.topic("x")
    with Wire.to(fleet) as wire:
        assert wire.enter(device, clean=False).is_session_present
        assert number_of(wire.receive(Kind.PUBREL)) == 9
        wire.send(acknowledgement(Kind.PUBCOMP, 9))
        heard = wire.hear(6)
        assert [(got.payload, got.qos, got.retain, got.dup) for got in heard[:4]] == [
            (b"sent second", 1, False, True),
            (b"retained", 1, True, True),
            (LONG, 2, False, False),
            (b"last", 1, False, False),
        ]
        assert [got.number for got in heard[:2]] == [5, 6]
        assert sorted((got.topic, got.payload, got.qos, got.retain) for got in heard[4:]) == [
            (f"{topic}/kept/a", LONG, 1, True),
            (f"{topic}/kept/b", b"b", 1, True),
        ]
        wire.ask(publish(f"{topic}/in", b"again", qos=2, number=0x4D, dup=True), Kind.PUBREC)
        wire.ask(acknowledgement(Kind.PUBREL, 77), Kind.PUBCOMP)
        assert wire.publications() == []
        wire.publish(f"{topic}/in", b"live", qos=1)
        assert [got.payload for got in wire.hear()] == [b"live"]
    fleet.server.restart()
    with Wire.to(fleet) as wire:
        assert wire.enter(backend, clean=False).is_session_present
        assert [got.payload for got in wire.hear(2)] == [LONG, b"live"]
        wire.subscribe(f"{topic}/kept/#", qos=2)
        assert sorted((got.payload, got.qos) for got in wire.hear(2)) == sorted([(LONG, 1), (b"b", 2)])
    with Wire.to(fleet) as wire:
        assert wire.enter(device, clean=False).is_session_present
        assert wire.publications() == []


def test_owner_of_retained(fleet: Fleet, upgraded: tuple[Credentials, Credentials]) -> None:
    """What a device retained before the upgrade goes with it."""
    device, backend = upgraded
    with fleet.store() as store:
        store.delete_device(device.device_id, actor="test")
    with Wire.to(fleet) as wire:
        wire.enter(backend, clean=False)

        def left() -> list[bytes]:
            wire.subscribe(device.topic("x/kept/#"), qos=2)
            return [got.payload for got in wire.hear(2, seconds=0.2) if got.retain]

        # The broker hears of the deletion a moment later.
        assert eventually(lambda: left() == [b"b"])


@only_3_1_1
def test_killed(tmp_path: Path) -> None:
    """Killed at any statement of the upgrade, the file is what it was, or upgraded; the next start completes it."""
    paths = [tmp_path / f"{number}.db" for number in range(STATEMENTS)]
    for path in paths:
        _write_older(path, "device", "d", "backend", "b", "t")
    before = _content(paths[0])
    ended = subprocess.run(
        [sys.executable, "-c", UPGRADE, *map(str, paths)], check=True, capture_output=True, text=True, timeout=60
    )
    statuses = [int(line) for line in ended.stdout.split()]
    assert set(statuses) == {-signal.SIGKILL, 0}
    kept = [path for path in paths if not _has_messages(path)]
    assert len(kept) > len(TABLES)
    assert all(_content(path) == before for path in kept)
    for path in paths:
        with closing(open_broker_database(path)) as upgraded:
            assert upgraded.execute("SELECT count(*) FROM messages").fetchone() == (7,)


def _has_messages(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as look:
        return bool(look.execute("SELECT 1 FROM sqlite_master WHERE name = 'messages'").fetchall())


def _content(path: Path) -> list[list[object]]:
    with closing(sqlite3.connect(path)) as look:
        return [look.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]  # noqa: S608 - the test's own names
