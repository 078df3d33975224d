"""The admin API in a fleet of a million devices.

`admin api, list` and `admin api, search`: how long pages take through HTTP, one request after the other, with cursors
at random places of the whole fleet, beside the same in a fleet of 1,000. The search has several conditions, common and
rare ones, some that no device meets together, and patterns. The figure is the 99th percentile.

`admin api, reads`: requests a second for one device and for pages, beside a bare Litestar handler that answers the
same bytes' worth of JSON from memory, on the same server, uvicorn with the same settings, in a process of its own.
Read again means 200 paths asked again and again while nothing is committed, as a dashboard does; read once, paths that
were never asked before.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import make_fleet
from benchmarks.rounds import ROUNDS, alternate
from benchmarks.server import served
from fleetkey.management import TokenService
from fleetkey.registry import Role
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["BENCHMARK"]

MANY = int(os.environ.get("BENCH_API_DEVICES", "1000000"))
FEW = 1_000
PAGES = 300
READS = 2_000
AGAIN = 200
"""Paths that are asked again and again."""
READ_CONNECTIONS = 8
PAGE_ITEMS = 50
P99_LIMIT_MS = 50
# Common and rare tags, two of which never meet; a state that few are in.
LABELS = """
INSERT INTO device_tags (device_id, name, value)
  SELECT device_id, 'site', 'site-' || (rowid % 20) FROM temp.labelled
"""
SIDES = """
INSERT INTO device_tags (device_id, name, value)
  SELECT device_id, CASE rowid % 2 WHEN 0 THEN 'left' ELSE 'right' END, 'yes' FROM temp.labelled
"""
BATCHES = """
INSERT INTO device_attributes (device_id, name, value)
  SELECT device_id, 'batch', CAST(rowid % 1000 AS TEXT) FROM temp.labelled
"""
SEARCHES = (
    "tag=site%3Dsite-7",
    "state=disabled",
    "tag=left%3Dyes&tag=right%3Dyes",
    "tag=left%3Dyes&state=disabled",
    "tag=site%3Dsite-3&attribute=batch%3D23",
    "serial_pattern=SN-00.*",
    "tag=right%3Dyes&serial_pattern=SN-.*FF",
)


def run() -> list[Figure]:
    """Measure pages, then reads."""
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        many, few = folder / "many", folder / "few"
        tokens = {side: _make(side, count) for side, count in ((many, MANY), (few, FEW))}
        with served(many, "") as many_port, served(few, "") as few_port:
            sides = {many: many_port, few: few_port}
            lists = [_pages(sides[side], tokens[side], _list_paths) for side in (many, few)]
            searches = [_pages(sides[side], tokens[side], _search_paths) for side in (many, few)]
            alternate(*lists, *searches, rounds=1)
            list_rounds = alternate(*lists)
            search_rounds = alternate(*searches)
            figures = [
                _page_figure("list", list_rounds, f"pages of {PAGE_ITEMS}"),
                _page_figure("search", search_rounds, f"{len(SEARCHES)} kinds of filters, pages of {PAGE_ITEMS}"),
            ]
            return [*figures, *_reads(folder, many_port, tokens[many], many)]


def _make(folder: Path, devices: int) -> str:
    """Fill a registry, label its devices, and return a token for it."""
    folder.mkdir()
    make_fleet(folder, devices=devices, known=1)
    with closing(sqlite3.connect(folder / "fleetkey.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE labelled AS SELECT device_id FROM devices ORDER BY device_id")
        for statement in (LABELS, SIDES, BATCHES):
            connection.execute(statement)
        connection.execute(
            "UPDATE devices SET state = 'disabled' WHERE device_id IN"
            " (SELECT device_id FROM temp.labelled WHERE rowid % 5000 = 1)"
        )
        connection.execute("COMMIT")
    with closing(SqliteStore(folder / "fleetkey.db")) as store:
        return TokenService(store).create("benchmark", Role.VIEWER, actor="benchmark").text.reveal()


def _list_paths() -> Iterator[str]:
    while True:
        yield f"/api/v1/devices?limit={PAGE_ITEMS}&cursor={secrets.token_hex(12)}"


def _search_paths() -> Iterator[str]:
    for search in itertools.cycle(SEARCHES):
        yield f"/api/v1/devices?limit={PAGE_ITEMS}&{search}&cursor={secrets.token_hex(12)}"


def _pages(port: int, token: str, paths: Callable[[], Iterator[str]]) -> Callable[[], dict[str, Any]]:
    return lambda: _load(port, token, list(itertools.islice(paths(), PAGES)), 1)


def _page_figure(name: str, rounds: Sequence[Sequence[dict[str, Any]]], note: str) -> Figure:
    ours, peer = ([report["p99_ms"] for report in side] for side in rounds)
    p50 = statistics.median(report["p50_ms"] for report in rounds[0])
    return Figure(
        name=f"admin api, {name}",
        unit="ms",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name=f"the same with {FEW:,} devices instead of {MANY:,}",
        targets=(Target("ours", "<", P99_LIMIT_MS),),
        note=f"p99 of {PAGES} requests a round, cursors anywhere, {note}; p50 {p50:.1f} ms",
    )


def _reads(folder: Path, port: int, token: str, data_dir: Path) -> list[Figure]:
    ids = _some_ids(data_dir)
    kinds = {
        "one device": "/api/v1/devices/{}",
        f"page of {PAGE_ITEMS}": f"/api/v1/devices?limit={PAGE_ITEMS}&cursor={{}}",
    }
    figures = []
    for kind, path in kinds.items():
        paths = [path.format(device_id) for device_id in ids]
        answer = folder / "answer.json"
        answer.write_bytes(_fetch(port, token, paths[0]))
        again = [secrets.choice(paths[:AGAIN]) for _ in range(READS)]
        once = iter(paths[AGAIN:])
        with _bare(answer) as bare_port:

            def read_again(chosen: list[str] = again) -> float:
                return _rate(port, token, chosen)

            def read_once(once: Iterator[str] = once) -> float:
                return _rate(port, token, list(itertools.islice(once, READS)))

            def bare(bare_port: int = bare_port) -> float:
                return _rate(bare_port, token, ["/"] * READS)

            alternate(read_again, bare, rounds=1)
            sides = {"again": alternate(read_again, bare), "once": alternate(read_once, bare)}
        for name, (rounds, bare_rounds) in sides.items():
            targets = (Target("ratio", ">=", 0.5),) if name == "again" else ()
            figures.append(
                Figure(
                    name=f"admin api, {kind} read {name}",
                    unit="/s",
                    ours_rounds=rounds,
                    peer_rounds=bare_rounds,
                    peer_name="a bare Litestar handler that returns the same JSON from memory",
                    targets=targets,
                    note=f"{READ_CONNECTIONS} connections, {answer.stat().st_size:,} bytes an answer",
                )
            )
    return figures


def _some_ids(data_dir: Path) -> list[str]:
    """Return ids of devices all over the fleet, in random order, enough for every path that is read once."""
    wanted = AGAIN + READS * ROUNDS
    with closing(sqlite3.connect(data_dir / "fleetkey.db")) as connection:
        rows = connection.execute("SELECT device_id FROM devices ORDER BY random() LIMIT ?", (wanted,))
        return [device_id for (device_id,) in rows]


def _rate(port: int, token: str, paths: list[str]) -> float:
    return len(paths) / float(_load(port, token, paths, READ_CONNECTIONS)["seconds"])


@contextmanager
def _bare(answer: Path) -> Iterator[int]:
    """Run the bare handler while the block runs; yields its port."""
    command = [sys.executable, "-m", "benchmarks.bare_handler", str(answer)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(15)


def _fetch(port: int, token: str, path: str) -> bytes:
    import httpx  # noqa: PLC0415 - for this one request

    response = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    response.raise_for_status()
    return response.content


def _load(port: int, token: str, paths: list[str], connections: int) -> dict[str, Any]:
    lines = "\n".join(json.dumps({"path": path}) for path in paths)
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_reads", str(port), str(connections)],
        input=f"{token}\n{lines}",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(client.stdout)
    assert report["statuses"] == {"200": len(paths)}, report["statuses"]
    return report


BENCHMARK = Benchmark(name="admin_api", summary="list, search and read through the admin API", run=run)
