"""Registrations a second through HTTP, beside the work that none can do without.

Ours: a real `fleetkey serve` with its allow-list and without rate limits; a light client process registers new serials
over 20 kept-alive connections, one request in the air on each.

The peer, in one thread of this process: one bcrypt hash at the default cost and one durable transaction into the same
tables (WAL, `synchronous=FULL`) with the rows that a registration writes: device, key, two changes, one audit entry.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt

from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import BCRYPT_ROUNDS
from benchmarks.rounds import ROUNDS, alternate
from benchmarks.server import served
from fleetkey.registry.sqlite import SqliteStore

__all__ = ["BENCHMARK"]

CONNECTIONS = 20
PER_ROUND = 1_500
WARM_UP = 200
CONFIG = """
[registration]
max_per_address_per_minute = 0
max_per_serial_per_hour = 0
"""


def run() -> list[Figure]:
    """Measure the server and the bare work in turn."""
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        ours_path, bare_path = folder / "fleetkey.db", folder / "bare.db"
        serials = [f"SN-{secrets.token_hex(8).upper()}" for _ in range(WARM_UP + ROUNDS * PER_ROUND)]
        _prepare(ours_path, serials)
        _prepare(bare_path, [])
        with served(folder, CONFIG) as port, closing(_connect(bare_path)) as bare:
            _register(port, _take(serials, WARM_UP))
            _bare_rate(bare, WARM_UP)
            reports: list[dict[str, Any]] = []

            def ours() -> float:
                reports.append(_register(port, _take(serials, PER_ROUND)))
                return PER_ROUND / float(reports[-1]["seconds"])

            ours_rounds, peer_rounds = alternate(ours, lambda: _bare_rate(bare, PER_ROUND))
    p50, p99 = (statistics.median(report[name] for report in reports) for name in ("p50_ms", "p99_ms"))
    return [
        Figure(
            name="registration",
            unit="/s",
            ours_rounds=ours_rounds,
            peer_rounds=peer_rounds,
            peer_name="one bcrypt hash and one durable transaction, one thread",
            targets=(Target("ratio", ">=", 0.5),),
            note=f"{CONNECTIONS} connections, {PER_ROUND:,} a round, answer p50 {p50:.0f} ms, p99 {p99:.0f} ms",
        )
    ]


def _prepare(path: Path, serials: list[str]) -> None:
    with closing(SqliteStore(path)) as store:
        store.add_serials(serials, actor="benchmark")


def _take(serials: list[str], count: int) -> list[str]:
    taken = serials[:count]
    del serials[:count]
    return taken


def _register(port: int, serials: list[str]) -> dict[str, Any]:
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_load", str(port), str(CONNECTIONS)],
        input="\n".join(serials),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(client.stdout)
    assert report["statuses"] == {"200": len(serials)}, report["statuses"]
    return report


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _bare_rate(connection: sqlite3.Connection, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        _bare_registration(connection)
    return count / (time.perf_counter() - start)


def _bare_registration(connection: sqlite3.Connection) -> None:
    device_id, key, secret = secrets.token_hex(12), secrets.token_hex(16), secrets.token_hex(32)
    serial = f"SN-{secrets.token_hex(8).upper()}"
    secret_hash = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(BCRYPT_ROUNDS, prefix=b"2a")).decode()
    now = int(time.time() * 1000)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO devices (device_id, serial, state, created_at, updated_at) VALUES (?, ?, 'active', ?, ?)",
        (device_id, serial, now, now),
    )
    connection.execute(
        "INSERT INTO access_keys (key, kind, status, secret_hash, device_id, replaces_older, created_at)"
        " VALUES (?, 'device', 'active', ?, ?, 1, ?)",
        (key, secret_hash, device_id, now),
    )
    change = "INSERT INTO changes (at, kind, device_id, key) VALUES (?, ?, ?, ?)"
    connection.execute(change, (now, "device_created", device_id, None))
    connection.execute(change, (now, "key_issued", device_id, key))
    connection.execute(
        "INSERT INTO audit (at, actor, action, outcome, reason, address, serial, device_id, key)"
        " VALUES (?, 'device', 'register', 'ok', 'created', '127.0.0.1', ?, ?, ?)",
        (now, serial, device_id, key),
    )
    connection.execute("COMMIT")


BENCHMARK = Benchmark(name="registration", summary="registrations through HTTP", run=run)
