"""The tables of `broker.db`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_broker_database", "open_broker_database"]

MAX_LOG_BYTES = 4 * 1024 * 1024
"""Bytes of the write-ahead log that are kept for later commits; what a larger commit takes beyond is given back."""

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


@migrations(name="0003_sent")
def _sent(db: Database) -> None:
    db.conn.execute("ALTER TABLE deliveries ADD COLUMN sent INTEGER NOT NULL DEFAULT 0")


@migrations(name="0004_messages")
def _messages(db: Database) -> None:
    for statement in (
        # expiry and properties belong to MQTT 5.0.
        """CREATE TABLE messages (
             row INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, owner TEXT NOT NULL,
             time INTEGER NOT NULL, expiry INTEGER, properties BLOB)""",
        """INSERT INTO messages (row, topic, payload, owner, time)
             SELECT row, topic, payload, '', CAST(strftime('%s', 'now') AS INTEGER)
             FROM deliveries WHERE NOT is_released""",
        "ALTER TABLE deliveries RENAME TO older_deliveries",
        "DROP INDEX deliveries_by_session",
        """CREATE TABLE deliveries (
             row INTEGER PRIMARY KEY, session INTEGER NOT NULL, message INTEGER, qos INTEGER NOT NULL,
             packet_id INTEGER NOT NULL, is_released INTEGER NOT NULL, is_retained INTEGER NOT NULL,
             sent INTEGER NOT NULL)""",
        """INSERT INTO deliveries (row, session, message, qos, packet_id, is_released, is_retained, sent)
             SELECT row, session, iif(is_released, NULL, row), qos, packet_id, is_released, is_retained, sent
             FROM older_deliveries""",
        "DROP TABLE older_deliveries",
        "CREATE INDEX deliveries_by_session ON deliveries (session)",
        "ALTER TABLE retained RENAME TO older_retained",
        """CREATE TABLE retained (
             topic TEXT PRIMARY KEY, message INTEGER NOT NULL, qos INTEGER NOT NULL) WITHOUT ROWID""",
        # Behind those that wait: which of them are older isn't known.
        """INSERT INTO retained (topic, message, qos)
             SELECT topic, (SELECT coalesce(max(row), 0) FROM deliveries) + row_number() OVER (ORDER BY topic), qos
             FROM older_retained""",
        """INSERT INTO messages (row, topic, payload, owner, time)
             SELECT message, topic, payload, owner, CAST(strftime('%s', 'now') AS INTEGER)
             FROM retained JOIN older_retained USING (topic)""",
        "DROP TABLE older_retained",
        """CREATE TRIGGER sessions_end AFTER DELETE ON sessions BEGIN
             DELETE FROM subscriptions WHERE session = OLD.row;
             DELETE FROM deliveries WHERE session = OLD.row;
             DELETE FROM inbound WHERE session = OLD.row;
           END""",
        "ALTER TABLE subscriptions RENAME COLUMN is_owed TO owed",
        "UPDATE subscriptions SET owed = (SELECT coalesce(max(row), 0) FROM messages) WHERE owed",
    ):
        db.conn.execute(statement)


@migrations(name="0005_mqtt_5")
def _mqtt_5(db: Database) -> None:
    for statement in (
        # Without a value: as long as the settings allow.
        "ALTER TABLE sessions ADD COLUMN expiry_seconds INTEGER",
        # The options as in SUBSCRIBE, besides the QoS (MQTT 5.0, 3.8.3.1); 0 = no identifier.
        "ALTER TABLE subscriptions ADD COLUMN options INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE subscriptions ADD COLUMN identifier INTEGER NOT NULL DEFAULT 0",
        # Subscription identifiers to send with a message, separated by commas.
        "ALTER TABLE deliveries ADD COLUMN identifiers TEXT",
        """CREATE TABLE wills (
             session INTEGER PRIMARY KEY, key TEXT NOT NULL, due REAL NOT NULL, topic TEXT NOT NULL,
             payload BLOB NOT NULL, qos INTEGER NOT NULL, is_retained INTEGER NOT NULL, properties BLOB NOT NULL,
             expiry_seconds INTEGER)""",
        "DROP TRIGGER sessions_end",
        """CREATE TRIGGER sessions_end AFTER DELETE ON sessions BEGIN
             DELETE FROM subscriptions WHERE session = OLD.row;
             DELETE FROM deliveries WHERE session = OLD.row;
             DELETE FROM inbound WHERE session = OLD.row;
             DELETE FROM wills WHERE session = OLD.row;
           END""",
    ):
        db.conn.execute(statement)


def check_broker_database(path: Path) -> None:
    """Check that a file is a broker's database, of this version or older. Raises `sqlite3.Error`; changes nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _refuse_foreign(connection)


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    database = Database(connection, execute_plugins=False)
    applied = [step.name for step in migrations.applied(database)] if database["_sqlite_migrations"].exists() else []
    known = {step.name for step in migrations._migrations}  # noqa: SLF001 - sqlite-utils has no public list
    if not applied and database.table_names():
        msg = "it has another application's tables"
        raise sqlite3.DatabaseError(msg)
    if unknown := [name for name in applied if name not in known]:
        msg = f"it was written by a newer Fleetkey ({', '.join(unknown)}); upgrade this installation"
        raise sqlite3.DatabaseError(msg)


def open_broker_database(path: Path) -> sqlite3.Connection:
    """Open the file, or create it for its owner only; `synchronous=FULL`, so that commits survive a power cut.

    Raises:
        sqlite3.Error: it is not a broker's database, is of a newer version, or can't be written.
        OSError: it can't be created.
    """
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _refuse_foreign(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={MAX_LOG_BYTES}")
        migrations.apply(Database(connection, execute_plugins=False))
    except BaseException:
        connection.close()
        raise
    return connection
