"""The tables of `broker.db`."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_broker_database"]

migrations = Migrations("fleetkey-broker")


@migrations(name="0001_sessions")
def _sessions(db: Database) -> None:
    for statement in (
        """CREATE TABLE sessions (
             row INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, expires_at REAL)""",
        """CREATE TABLE subscriptions (
             session INTEGER NOT NULL, filter TEXT NOT NULL, qos INTEGER NOT NULL,
             PRIMARY KEY (session, filter)) WITHOUT ROWID""",
        """CREATE TABLE deliveries (
             row INTEGER PRIMARY KEY, session INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
             qos INTEGER NOT NULL, packet_id INTEGER NOT NULL DEFAULT 0, is_released INTEGER NOT NULL DEFAULT 0,
             is_retained INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX deliveries_by_session ON deliveries (session)",
        """CREATE TABLE inbound (
             session INTEGER NOT NULL, packet_id INTEGER NOT NULL, PRIMARY KEY (session, packet_id)) WITHOUT ROWID""",
        """CREATE TABLE retained (
             topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL, owner TEXT NOT NULL)
             WITHOUT ROWID""",
    ):
        db.conn.execute(statement)


@migrations(name="0002_owed")
def _owed(db: Database) -> None:
    db.conn.execute("ALTER TABLE subscriptions ADD COLUMN is_owed INTEGER NOT NULL DEFAULT 0")


def open_broker_database(path: Path) -> sqlite3.Connection:
    """Open the file, or make it for its owner alone; `synchronous=FULL`, so that a commit survives a power cut.

    Raises:
        sqlite3.Error: it is no database, or can't be written; OSError: it can't be made.
    """
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        migrations.apply(Database(connection, execute_plugins=False))
    except BaseException:
        connection.close()
        raise
    return connection
