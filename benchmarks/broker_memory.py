"""What each kind of thing that a client makes the server keep costs in memory, beside what the server charges for it.

Each kind meets a `fleetkey serve` of its own. The cost is the growth of the process's resident memory over many of the
kind, divided by their number, once as many are there already, so that what is needed once belongs to none of them. What
the server charges is the growth of `fleetkey_memory_charged_bytes`, over all its kinds
but `own`.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.abuse.fleet import make_abuse_fleet
from benchmarks.abuse.plan import read_scene
from benchmarks.abuse.server import serving
from benchmarks.broker_certificate import make_certificate
from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.memory_kinds import KINDS, Maker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.abuse.fleet import AbuseFleet
    from benchmarks.memory_kinds import Kind

__all__ = ["BENCHMARK", "PARTS"]

DEVICES, APPLICATIONS = 4_100, 10
SETTLE_SECONDS = 1.0
NEVER_BELOW, NEVER_FAR_ABOVE = Target("ratio", ">=", 1.0), Target("ratio", "<=", 1.3)


def run(kinds: Sequence[Kind]) -> list[Figure]:
    """Measure them one after the other."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    figures = []
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        fleet = make_abuse_fleet(folder, devices=DEVICES, applications=APPLICATIONS)
        make_certificate(folder / "tls")
        for kind in kinds:
            figure = _measure(kind, fleet, folder / "tls", folder / kind.part)
            print(f"  {kind.name:<44}{figure.peer:>10,.0f} bytes", file=sys.stderr, flush=True)
            figures.append(figure)
    return figures


def _measure(kind: Kind, fleet: AbuseFleet, certificate: Path, folder: Path) -> Figure:
    with (
        serving(fleet.data_dir, folder, certificate if kind.needs_tls else None) as server,
        ExitStack() as stack,
    ):
        maker = Maker(server=server, scene=read_scene(fleet.clients, fleet.keys, **server.ports), stack=stack)
        half = kind.count // 2
        kind.make(maker, 0, half)
        time.sleep(SETTLE_SECONDS)
        resident, charged = server.resident_bytes, server.charged_bytes()
        kind.make(maker, half, kind.count - half)
        time.sleep(SETTLE_SECONDS)
        cost = (server.resident_bytes - resident) / (kind.count - half)
        figure = Figure(
            name=f"broker memory, {kind.name}",
            unit="bytes",
            ours_rounds=[cost],
            peer_rounds=[cost],
            peer_name="what it costs; the server doesn't say what it charges",
            note=f"{kind.count - half:,} of them",
        )
        if charged is None or (after := server.charged_bytes()) is None:
            return figure
    return replace(
        figure,
        ours_rounds=[(after - charged) / (kind.count - half)],
        peer_name="what it costs; ours is what is charged",
        targets=(NEVER_BELOW, NEVER_FAR_ABOVE),
    )


BENCHMARK = Benchmark(
    name="broker-memory",
    summary="what clients make the server keep, and what it charges for it",
    run=partial(run, KINDS),
)
PARTS = tuple(
    Benchmark(name=f"broker-memory:{kind.part}", summary=kind.name, run=partial(run, (kind,))) for kind in KINDS
)
