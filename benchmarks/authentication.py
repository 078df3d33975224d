"""How long it takes to decide a CONNECT, in this process.

`warm`: a device whose secret was verified lately, through `Authenticator.authenticate`, beside amqtt's own database
plugin with its defaults (SQLite through aiosqlite, argon2) deciding a right password. Both are awaited one after the
other on the same event loop.

`cold`: nothing is remembered, so each login reads the registry and verifies the secret in the pool, beside nothing but
`bcrypt.checkpw` on the same secrets and hashes in a loop.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import uvloop

from benchmarks.amqtt_database import AmqttDatabase
from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import make_fleet
from benchmarks.logins import opened_authenticator, seconds_per_login
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from benchmarks.fleet import Credential

__all__ = ["BENCHMARK"]

DEVICES = 1_000
WARM_TURNS = 10
COLD_ROUNDS = 9
COLD_SLICES = 3
AMQTT_LOGINS = 10
MICROSECONDS = 1e6


def run() -> list[Figure]:
    """Measure warm and cold."""
    with (
        tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        credentials = make_fleet(Path(folder), devices=DEVICES, known=DEVICES)
        return [_warm(runner, Path(folder), credentials), _cold(runner, Path(folder), credentials)]


def _warm(runner: asyncio.Runner, folder: Path, credentials: list[Credential]) -> Figure:
    with opened_authenticator(runner, folder) as authenticator, AmqttDatabase(runner, folder / "amqtt.db") as amqtt:
        seconds_per_login(runner, authenticator, credentials)
        amqtt.seconds_per_login(1)
        ours, peer = alternate(
            lambda: seconds_per_login(runner, authenticator, credentials * WARM_TURNS) * MICROSECONDS,
            lambda: amqtt.seconds_per_login(AMQTT_LOGINS) * MICROSECONDS,
        )
    return Figure(
        name="authentication, warm",
        unit="µs",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="amqtt's UserAuthDBPlugin, SQLite, its defaults",
        ratio_is="peer/ours",
        targets=(Target("ours", "<", 50), Target("ratio", ">=", 500)),
        note=f"{DEVICES * WARM_TURNS:,} logins of {DEVICES:,} devices a round",
    )


def _cold(runner: asyncio.Runner, folder: Path, credentials: list[Credential]) -> Figure:
    size = len(credentials) // COLD_SLICES
    slices = itertools.cycle([credentials[start : start + size] for start in range(0, size * COLD_SLICES, size)])
    bare_slices = itertools.cycle([credentials[start : start + size] for start in range(0, size * COLD_SLICES, size)])
    with opened_authenticator(runner, folder, cache_seconds=0) as authenticator:
        seconds_per_login(runner, authenticator, credentials[:size])
        ours, peer = alternate(
            lambda: seconds_per_login(runner, authenticator, next(slices)) * MICROSECONDS,
            lambda: _seconds_per_check(next(bare_slices)) * MICROSECONDS,
            rounds=COLD_ROUNDS,
        )
    return Figure(
        name="authentication, cold",
        unit="µs",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="bcrypt.checkpw alone, same cost",
        targets=(Target("ratio", "<=", 1.2),),
        note=f"{size} logins a round, one after the other",
    )


def _seconds_per_check(credentials: list[Credential]) -> float:
    start = time.perf_counter()
    verified = [bcrypt.checkpw(credential.secret, credential.secret_hash) for credential in credentials]
    seconds = time.perf_counter() - start
    assert all(verified)
    return seconds / len(credentials)


BENCHMARK = Benchmark(name="authentication", summary="deciding a CONNECT, remembered and not", run=run)
