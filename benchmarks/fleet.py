"""A registry of any size, filled with plain SQL, in which some devices have credentials that are known here."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BCRYPT_ROUNDS", "Credential", "make_fleet"]

BCRYPT_ROUNDS = 4
"""The default of `[access] bcrypt_rounds`."""
BUILD_CACHE_KIB = 512 * 1024

FILL = """
CREATE TEMP TABLE filler AS
  WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :devices)
  SELECT lower(hex(randomblob(12))) AS device_id, lower(hex(randomblob(16))) AS key,
         'SN-' || hex(randomblob(8)) AS serial
  FROM number
"""
FILL_DEVICES = """
INSERT INTO devices (device_id, serial, state, created_at, updated_at)
  SELECT device_id, serial, 'active', :now, :now FROM temp.filler ORDER BY device_id
"""
FILL_KEYS = """
INSERT INTO access_keys (key, kind, status, secret_hash, device_id, replaces_older, created_at, first_connected_at)
  SELECT key, 'device', 'active', :secret_hash, device_id, 1, :now, :now FROM temp.filler
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What one device connects with."""

    device_id: str
    key: str
    secret: bytes = field(repr=False)
    secret_hash: bytes = field(repr=False)


def make_fleet(data_dir: Path, *, devices: int, known: int) -> list[Credential]:
    """Make a registry whose devices have all connected before; return the credentials of `known` random ones.

    Every other device has the same valid hash, since a million different ones would take a quarter of an hour.
    """
    path = data_dir / "fleetkey.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Nobody else reads this file yet, and a crash costs nothing: no journal, no flush, a cache that holds it all.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{BUILD_CACHE_KIB}")
        values = {
            "devices": devices,
            "now": int(time.time() * 1000),
            "secret_hash": hash_secret(new_secret(), BCRYPT_ROUNDS),
        }
        connection.execute("BEGIN")
        for statement in (FILL, FILL_DEVICES, FILL_KEYS):
            connection.execute(statement, values)
        credentials = _give_secrets(connection, devices, known)
        connection.execute("COMMIT")
    return credentials


def _give_secrets(connection: sqlite3.Connection, devices: int, known: int) -> list[Credential]:
    positions = random.sample(range(1, devices + 1), known)
    credentials = []
    for position in positions:
        key, device_id = connection.execute(
            "SELECT key, device_id FROM access_keys WHERE seq = ?", (position,)
        ).fetchone()
        secret = new_secret()
        secret_hash = hash_secret(secret, BCRYPT_ROUNDS)
        connection.execute("UPDATE access_keys SET secret_hash = ? WHERE seq = ?", (secret_hash, position))
        credentials.append(
            Credential(device_id=device_id, key=key, secret=secret.reveal().encode(), secret_hash=secret_hash.encode())
        )
    return credentials
