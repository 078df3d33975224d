"""The tables, as sqlite-utils migrations. A released step is never edited; every change is a new step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["APPLICATION_ID", "migrations"]

APPLICATION_ID = 0x464C4B59
"""`FLKY` in the file's header (SQLite file format, 1.3), which distinguishes a registry from other databases."""

migrations = Migrations("fleetkey")


@migrations(name="0001_fleet")
def _fleet(db: Database) -> None:
    for statement in (
        "CREATE TABLE serials (serial TEXT PRIMARY KEY, added_at INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE devices (
             device_id TEXT PRIMARY KEY,
             serial TEXT NOT NULL UNIQUE,
             state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'disabled')),
             created_at INTEGER NOT NULL,
             updated_at INTEGER NOT NULL
           ) WITHOUT ROWID""",
        """CREATE TABLE device_tags (
             device_id TEXT NOT NULL,
             name TEXT NOT NULL,
             value TEXT NOT NULL,
             PRIMARY KEY (device_id, name)
           ) WITHOUT ROWID""",
        "CREATE INDEX device_tags_by_value ON device_tags (name, value, device_id)",
        # A retired key outlives its device, so there is no foreign key: it must never be issued again.
        """CREATE TABLE access_keys (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             key TEXT NOT NULL UNIQUE,
             kind TEXT NOT NULL CHECK (kind IN ('device', 'application')),
             status TEXT NOT NULL CHECK (status IN ('active', 'retired')),
             secret_hash TEXT NOT NULL,
             device_id TEXT,
             name TEXT,
             scope TEXT,
             replaces_older INTEGER NOT NULL DEFAULT 0,
             created_at INTEGER NOT NULL,
             first_connected_at INTEGER,
             expires_at INTEGER,
             retired_at INTEGER,
             retired_reason TEXT
           )""",
        "CREATE INDEX access_keys_by_device ON access_keys (device_id, seq) WHERE device_id IS NOT NULL",
        """CREATE INDEX access_keys_expiring ON access_keys (expires_at)
             WHERE status = 'active' AND expires_at IS NOT NULL""",
        """CREATE TABLE changes (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             at INTEGER NOT NULL,
             kind TEXT NOT NULL,
             device_id TEXT,
             key TEXT
           )""",
        """CREATE TABLE audit (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             at INTEGER NOT NULL,
             actor TEXT NOT NULL,
             action TEXT NOT NULL,
             outcome TEXT NOT NULL,
             reason TEXT NOT NULL,
             address TEXT NOT NULL,
             serial TEXT,
             device_id TEXT,
             key TEXT
           )""",
    ):
        db.conn.execute(statement)


@migrations(name="0002_profiles")
def _profiles(db: Database) -> None:
    for statement in (
        # SQLite can't change a CHECK, so the table is recreated.
        """CREATE TABLE new_devices (
             device_id TEXT PRIMARY KEY,
             serial TEXT NOT NULL UNIQUE,
             state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'disabled', 'rejected')),
             name TEXT NOT NULL DEFAULT '',
             profile TEXT,
             policy TEXT,
             created_at INTEGER NOT NULL,
             updated_at INTEGER NOT NULL
           ) WITHOUT ROWID""",
        """INSERT INTO new_devices
             SELECT device_id, serial, state, '', NULL, NULL, created_at, updated_at FROM devices ORDER BY device_id""",
        "DROP TABLE devices",
        "ALTER TABLE new_devices RENAME TO devices",
        "CREATE INDEX devices_by_state ON devices (state, device_id)",
        """CREATE TABLE device_attributes (
             device_id TEXT NOT NULL,
             name TEXT NOT NULL,
             value TEXT NOT NULL,
             PRIMARY KEY (device_id, name)
           ) WITHOUT ROWID""",
        "CREATE INDEX device_attributes_by_value ON device_attributes (name, value, device_id)",
        # Every topic pattern that any profile has ever given to a device, for the scope of keys for all devices.
        "CREATE TABLE topic_patterns (pattern TEXT PRIMARY KEY) WITHOUT ROWID",
        "ALTER TABLE serials ADD COLUMN details TEXT",
        "ALTER TABLE access_keys ADD COLUMN description TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE access_keys ADD COLUMN sources TEXT",
        "ALTER TABLE access_keys ADD COLUMN rotated_at INTEGER",
    ):
        db.conn.execute(statement)


@migrations(name="0003_webhooks")
def _webhooks(db: Database) -> None:
    db.conn.execute(
        """CREATE TABLE webhooks (
             name TEXT PRIMARY KEY,
             position INTEGER NOT NULL,
             delivered INTEGER NOT NULL DEFAULT 0,
             given_up INTEGER NOT NULL DEFAULT 0,
             missed INTEGER NOT NULL DEFAULT 0,
             delivered_at INTEGER,
             last_error TEXT NOT NULL DEFAULT ''
           ) WITHOUT ROWID"""
    )


@migrations(name="0004_audit_append_only")
def _audit_append_only(db: Database) -> None:
    for statement in (
        # One row: the position up to which retention has deleted entries, and when.
        """CREATE TABLE audit_retention (
             id INTEGER PRIMARY KEY CHECK (id = 1),
             dropped_to INTEGER NOT NULL,
             dropped_at INTEGER
           )""",
        "INSERT INTO audit_retention VALUES (1, (SELECT coalesce(min(seq), 1) - 1 FROM audit), NULL)",
        """CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
           WHEN OLD.seq > (SELECT dropped_to FROM audit_retention)
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        # INSERT OR REPLACE would fire no delete trigger; an insert without seq has -1 here.
        """CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
           WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_retention_grows BEFORE UPDATE ON audit_retention
           WHEN NEW.dropped_to < OLD.dropped_to
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_retention_stays BEFORE DELETE ON audit_retention
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
    ):
        db.conn.execute(statement)


@migrations(name="0005_tokens")
def _tokens(db: Database) -> None:
    for statement in (
        """CREATE TABLE tokens (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             token_id TEXT NOT NULL UNIQUE,
             token_hash BLOB NOT NULL,
             name TEXT NOT NULL,
             role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
             created_at INTEGER NOT NULL,
             created_by TEXT NOT NULL,
             expires_at INTEGER,
             revoked_at INTEGER
           )""",
        # With these, a page of keys costs the same however many keys of other kinds lie in between.
        "CREATE INDEX access_keys_active ON access_keys (seq) WHERE status = 'active'",
        "CREATE INDEX access_keys_of_applications ON access_keys (seq) WHERE kind = 'application'",
    ):
        db.conn.execute(statement)


@migrations(name="0006_presence")
def _presence(db: Database) -> None:
    for statement in (
        """CREATE TABLE presence (
             device_id TEXT PRIMARY KEY,
             is_online INTEGER NOT NULL,
             connected_at INTEGER,
             disconnected_at INTEGER,
             last_seen_at INTEGER,
             address TEXT NOT NULL DEFAULT '',
             reason TEXT NOT NULL DEFAULT ''
           ) WITHOUT ROWID""",
        "CREATE INDEX presence_online ON presence (device_id) WHERE is_online",
    ):
        db.conn.execute(statement)


@migrations(name="0007_deleted_devices")
def _deleted_devices(db: Database) -> None:
    # For webhooks: finds the serial of a deleted device, however long the audit log is.
    db.conn.execute("CREATE INDEX audit_deleted_devices ON audit (device_id) WHERE action = 'device_deleted'")


@migrations(name="0008_clock")
def _clock(db: Database) -> None:
    # One row: the state of the server's clock, and the run of the system.
    db.conn.execute(
        """CREATE TABLE clock (
             id INTEGER PRIMARY KEY CHECK (id = 1),
             now_at INTEGER NOT NULL,
             lasted_at INTEGER NOT NULL,
             monotonic_ms INTEGER NOT NULL,
             boot TEXT NOT NULL
           )"""
    )


@migrations(name="0009_strangers_in_the_audit")
def _strangers_in_the_audit(db: Database) -> None:
    for statement in (
        "ALTER TABLE audit ADD COLUMN by_stranger INTEGER NOT NULL DEFAULT 0 CHECK (by_stranger IN (0, 1))",
        "DROP TRIGGER audit_no_update",
        "DROP TRIGGER audit_no_delete",
        "DROP TRIGGER audit_no_replace",
        "DROP TRIGGER audit_retention_grows",
        # Refusals that concern no device of the fleet, and invalid tokens: nobody proved their identity.
        """UPDATE audit SET by_stranger = 1
             WHERE outcome = 'refused' AND device_id IS NULL
               AND (action = 'register' OR (action = 'api_request' AND actor = 'api'))""",
        "CREATE INDEX audit_of_strangers ON audit (seq) WHERE by_stranger = 1",
        # From now on, `dropped_to` and `dropped_at` are for all other entries. Each position was given to one entry,
        # so these numbers give the number of rows without counting a million of them.
        "ALTER TABLE audit_retention ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE audit_retention ADD COLUMN strangers_written INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE audit_retention ADD COLUMN strangers_dropped INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE audit_retention ADD COLUMN strangers_dropped_to INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE audit_retention ADD COLUMN strangers_dropped_at INTEGER",
        """UPDATE audit_retention SET
             dropped = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)
               - (SELECT count(*) FROM audit),
             strangers_written = (SELECT count(*) FROM audit WHERE by_stranger = 1),
             strangers_dropped_to = dropped_to""",
        """CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
           WHEN OLD.seq > (
             SELECT CASE OLD.by_stranger WHEN 1 THEN strangers_dropped_to ELSE dropped_to END FROM audit_retention
           )
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        # An entry always gets the next position: none replaces another or fills a gap left by retention. An insert
        # without seq has -1 here, so one with an explicit -1 is caught by the trigger after the insert.
        """CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN NEW.seq <> -1
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_no_position AFTER INSERT ON audit WHEN NEW.seq < 1
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
        """CREATE TRIGGER audit_counts_strangers AFTER INSERT ON audit WHEN NEW.by_stranger = 1
           BEGIN UPDATE audit_retention SET strangers_written = strangers_written + 1; END""",
        """CREATE TRIGGER audit_retention_grows BEFORE UPDATE ON audit_retention
           WHEN NEW.dropped_to < OLD.dropped_to OR NEW.strangers_dropped_to < OLD.strangers_dropped_to
             OR NEW.dropped < OLD.dropped OR NEW.strangers_dropped < OLD.strangers_dropped
             OR NEW.strangers_written < OLD.strangers_written
           BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
    ):
        db.conn.execute(statement)


@migrations(name="0010_refusals")
def _refusals(db: Database) -> None:
    for statement in (
        # One row per client (device, key, listed serial, or what a stranger claimed), stage and reason.
        """CREATE TABLE refusals (
             id INTEGER PRIMARY KEY,
             identity TEXT NOT NULL,
             stage TEXT NOT NULL,
             reason TEXT NOT NULL,
             position INTEGER NOT NULL,
             count INTEGER NOT NULL,
             first_at INTEGER NOT NULL,
             last_at INTEGER NOT NULL,
             listener TEXT NOT NULL,
             address TEXT NOT NULL,
             serial TEXT,
             key TEXT,
             client_id TEXT,
             topic TEXT,
             detail TEXT NOT NULL,
             device_id TEXT,
             is_proven INTEGER NOT NULL CHECK (is_proven IN (0, 1)),
             is_known INTEGER NOT NULL CHECK (is_known IN (0, 1)),
             UNIQUE (identity, stage, reason)
           )""",
        "CREATE INDEX refusals_newest ON refusals (position)",
        "CREATE INDEX refusals_bounded ON refusals (is_known, position)",
        "CREATE INDEX refusals_old ON refusals (last_at)",
        "CREATE INDEX refusals_of_device ON refusals (device_id, position) WHERE device_id IS NOT NULL",
        "CREATE INDEX refusals_of_serial ON refusals (serial, position) WHERE serial IS NOT NULL",
        "CREATE INDEX refusals_of_key ON refusals (key, position) WHERE key IS NOT NULL",
        "CREATE INDEX refusals_of_client ON refusals (client_id, position) WHERE client_id IS NOT NULL",
        "CREATE INDEX refusals_from_address ON refusals (address, position)",
    ):
        db.conn.execute(statement)


@migrations(name="0011_key_presence")
def _key_presence(db: Database) -> None:
    # What `presence` is for devices, for application keys; its columns are those of `presence`.
    for statement in (
        """CREATE TABLE key_presence (
             owner TEXT PRIMARY KEY,
             is_online INTEGER NOT NULL,
             connected_at INTEGER,
             disconnected_at INTEGER,
             last_seen_at INTEGER,
             address TEXT NOT NULL DEFAULT '',
             reason TEXT NOT NULL DEFAULT ''
           ) WITHOUT ROWID""",
        "CREATE INDEX key_presence_online ON key_presence (owner) WHERE is_online",
    ):
        db.conn.execute(statement)
