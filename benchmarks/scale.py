"""What a million devices change.

`scale, cold login`: the time of a login that nothing is remembered for, of random devices in a registry of 1,000,000
beside one of 1,000, one login after the other. The files are in the operating system's cache, as on a server with
enough memory.

`scale, import`: serials a second of `fleetkey serials import FILE` with 1,000,000 random serials into an empty
registry, a real process from its start to its end, beside sorting the same lines in memory and inserting them into the
same table in one durable transaction.

`scale, import memory`: that process's peak memory, beside the same command's with 100,000 serials.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import make_fleet
from benchmarks.logins import opened_authenticator, seconds_per_login
from benchmarks.measured_process import Measured, measure
from benchmarks.rounds import alternate
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.fleet import Credential
    from fleetkey.access import Authenticator

__all__ = ["BENCHMARK"]

MANY, FEW = 1_000_000, 1_000
KNOWN_OF_MANY = 3_000
LOGINS = 500
LOGIN_ROUNDS = 7
MANY_SERIALS, FEWER_SERIALS = 1_000_000, 100_000
MICROSECONDS = 1e6


def run() -> list[Figure]:
    """Measure logins, then imports."""
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as folder:
        login = _logins(Path(folder))
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as folder:
        return [login, *_imports(Path(folder))]


def _logins(folder: Path) -> Figure:
    many_dir, few_dir = folder / "many", folder / "few"
    many_dir.mkdir()
    few_dir.mkdir()
    of_many = make_fleet(many_dir, devices=MANY, known=KNOWN_OF_MANY)
    of_few = make_fleet(few_dir, devices=FEW, known=FEW)
    many_mib = (many_dir / "fleetkey.db").stat().st_size / 2**20
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        opened_authenticator(runner, many_dir, cache_seconds=0) as many,
        opened_authenticator(runner, few_dir, cache_seconds=0) as few,
    ):
        sides = [_side(runner, many, of_many), _side(runner, few, of_few)]
        alternate(*sides, rounds=1)
        ours, peer = alternate(*sides, rounds=LOGIN_ROUNDS)
    return Figure(
        name="scale, cold login",
        unit="µs",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name=f"the same with {FEW:,} devices instead of {MANY:,}",
        targets=(Target("ratio", "<=", 1.2),),
        note=f"{LOGINS} random devices a round; the larger registry has {many_mib:,.0f} MiB",
    )


def _side(
    runner: asyncio.Runner, authenticator: Authenticator, credentials: Sequence[Credential]
) -> Callable[[], float]:
    starts = itertools.cycle(range(0, len(credentials), LOGINS))

    def side() -> float:
        start = next(starts)
        return seconds_per_login(runner, authenticator, credentials[start : start + LOGINS]) * MICROSECONDS

    return side


def _imports(folder: Path) -> list[Figure]:
    many, fewer = folder / "many.txt", folder / "fewer.txt"
    _write_serials(many, MANY_SERIALS)
    _write_serials(fewer, FEWER_SERIALS)
    peaks: dict[Path, list[float]] = {many: [], fewer: []}

    def rate(file: Path, count: int) -> float:
        measured = _import(file, count)
        peaks[file].append(measured.peak_mib)
        return count / measured.seconds

    ours, bare, _ = alternate(
        lambda: rate(many, MANY_SERIALS),
        lambda: MANY_SERIALS / _bare_import_seconds(many),
        lambda: rate(fewer, FEWER_SERIALS),
    )
    return [
        Figure(
            name="scale, import",
            unit="serials/s",
            ours_rounds=ours,
            peer_rounds=bare,
            peer_name="sort in memory and insert, one durable transaction, nothing checked",
            targets=(Target("ours", ">=", 50_000),),
            note=f"{MANY_SERIALS:,} random serials, whole process",
        ),
        Figure(
            name="scale, import memory",
            unit="MiB",
            ours_rounds=peaks[many],
            peer_rounds=peaks[fewer],
            peer_name=f"{FEWER_SERIALS:,} serials instead of {MANY_SERIALS:,}",
            targets=(Target("ratio", "<=", 1.2),),
            note="peak resident memory of the process",
        ),
    ]


def _write_serials(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.writelines(f"SN-{secrets.token_hex(8).upper()}\n" for _ in range(count))


def _import(serials: Path, count: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="data-", dir=serials.parent) as data_dir:
        measured = measure(
            [sys.executable, "-m", "fleetkey", "serials", "import", str(serials), "--data-dir", data_dir, "--json"]
        )
    assert json.loads(measured.output)["added"] == count, measured.output
    return measured


def _bare_import_seconds(serials: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="data-", dir=serials.parent) as data_dir:
        path = Path(data_dir) / "bare.db"
        SqliteStore(path).close()
        start = time.perf_counter()
        now = int(time.time() * 1000)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection, serials.open() as lines:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN")
            ordered = sorted(line.rstrip("\n") for line in lines)
            connection.executemany(
                "INSERT INTO serials (serial, added_at) VALUES (?, ?)", ((serial, now) for serial in ordered)
            )
            connection.execute("COMMIT")
        return time.perf_counter() - start


BENCHMARK = Benchmark(name="scale", summary="a million devices and serials", run=run)
