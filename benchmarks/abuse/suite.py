"""What attacks cost the server and its other clients.

Every attack meets a `fleetkey serve` of its own with the default settings, and a fleet of a thousand devices. The
victim is a device that sends itself messages by the clock; where HTTP is attacked, so are health checks, and where
connections are, another device that logs in. All are measured at rest, during the attack and until they are at rest
again. The attacker is a process with less priority.

What isn't a question of load has no figure here but tests: what the log shows of a client's text, a clock that jumps,
which of two retained messages stays, and whether an answer arrives before a connection closes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.abuse.attacks import ATTACKS
from benchmarks.abuse.fleet import add_labels, make_abuse_fleet
from benchmarks.abuse.measuring import MEBIBYTE, REST_AGAIN_SECONDS, measure
from benchmarks.abuse.server import serving
from benchmarks.broker_certificate import make_certificate
from benchmarks.broker_loadgen import LoadGenerator, compile_loadgen, compiler_path
from benchmarks.figure import Benchmark, Figure, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.abuse.measuring import Outcome
    from benchmarks.abuse.plan import Attack
    from benchmarks.broker_loadgen import Phase

__all__ = ["BENCHMARK", "PARTS"]

DEVICES, APPLICATIONS = 1_010, 10
REST_AGAIN = Target("ours", "<=", REST_AGAIN_SECONDS)


def run(attacks: Sequence[Attack]) -> list[Figure]:
    """Measure them one after the other; says on standard error how each ended, or what is missing for all of them."""
    if compiler_path() is None:
        print("abuse: skipped, it needs a C compiler (Debian: apt-get install gcc)", file=sys.stderr)
        return []
    figures = []
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        program = compile_loadgen(folder)
        fleet = make_abuse_fleet(folder, devices=DEVICES, applications=APPLICATIONS)
        make_certificate(folder / "tls")
        for attack in attacks:
            certificate = folder / "tls" if attack.needs_tls else None
            data_dir = fleet.data_dir
            if attack.needs_labels:
                data_dir = shutil.copytree(fleet.data_dir, folder / "labelled")
                add_labels(data_dir)
            with (
                serving(data_dir, folder / attack.name, certificate, attack.settings) as server,
                LoadGenerator(program, server, fleet) as generator,
            ):
                outcome = measure(attack, server, generator, fleet)
            # Some of them store gigabytes.
            shutil.rmtree(folder / attack.name)
            print(f"  {attack.name:<25}{_short(outcome)}", file=sys.stderr, flush=True)
            figures += _figures(attack, outcome)
    return figures


def _figures(attack: Attack, outcome: Outcome) -> list[Figure]:
    name = f"abuse:{attack.name}"
    rests = outcome.rest.by_name()
    victims = [(what, rests[what], attacked) for what, attacked in outcome.attacked.by_name().items()]
    notes = [f"{attack.summary}: {_deeds(outcome)}"] + [""] * len(victims)
    return [
        *(
            Figure(
                name=f"{name}, {what} p99",
                unit="ms",
                ours_rounds=[attacked.p99_ms],
                peer_rounds=[rest.p99_ms],
                peer_name="the same at rest",
                targets=attack.targets.latency,
                note="; ".join(part for part in (note, _median(rest, attacked)) if part),
            )
            for (what, rest, attacked), note in zip(victims, notes, strict=False)
        ),
        Figure(
            name=f"{name}, memory",
            unit="MiB",
            ours_rounds=[outcome.peak_mib],
            peer_rounds=[outcome.rest_mib],
            peer_name="the same at rest",
            targets=attack.targets.memory,
            note=f"{outcome.after_mib:,.0f} MiB afterwards; {_traces(outcome)}",
        ),
        Figure(
            name=f"{name}, disk",
            unit="MiB",
            ours_rounds=[outcome.after.disk_bytes / MEBIBYTE],
            peer_rounds=[outcome.before.disk_bytes / MEBIBYTE],
            peer_name="the same at rest",
            targets=attack.targets.disk,
            note=f"{outcome.written.written_bytes / MEBIBYTE:,.1f} MiB written in all",
        ),
        Figure(
            name=f"{name}, at rest again",
            unit="s",
            ours_rounds=[outcome.seconds_to_rest],
            peer_rounds=[REST_AGAIN_SECONDS],
            peer_name="how long it may take",
            targets=(REST_AGAIN,),
        ),
    ]


def _short(outcome: Outcome) -> str:
    rests = outcome.rest.by_name()
    parts = [_change("p50", outcome.rest.device.p50_ms, outcome.attacked.device.p50_ms)]
    parts += [
        _change(f"{what} p99", rests[what].p99_ms, attacked.p99_ms)
        for what, attacked in outcome.attacked.by_name().items()
    ]
    memory = f"{outcome.rest_mib:.0f} > {outcome.peak_mib:,.0f} > {outcome.after_mib:,.0f} MiB"
    return ", ".join([*parts, memory, f"at rest after {outcome.seconds_to_rest:.1f} s, {_deeds(outcome)}"])


def _change(name: str, before: float, meanwhile: float) -> str:
    return f"{name} {before:.2f} > {meanwhile:,.2f} ms"


def _median(rest: Phase, attacked: Phase) -> str:
    lost = f", {attacked.failed:,} of {attacked.done + attacked.failed:,} failed" if attacked.failed else ""
    return f"p50 {attacked.p50_ms:,.2f} ms, at rest {rest.p50_ms:.2f} ms{lost}"


def _deeds(outcome: Outcome) -> str:
    """Say what the attacker got done."""
    report = outcome.report
    rate = (
        f"{report.count:,} {report.noun} held"
        if report.is_held
        else f"{report.count / report.seconds:,.0f} {report.noun}/s"
    )
    closed = f", {report.closed / report.seconds:,.0f} connections/s closed on it" if report.closed else ""
    stopped = f", stopped after {report.seconds:.1f} s for the server's memory" if outcome.is_stopped else ""
    set_up = f"set up {report.prepared:,} of {report.to_prepare:,}, " if report.to_prepare else ""
    return f"{set_up}{rate}, {report.sent_bytes / report.seconds / 1e6:,.1f} MB/s{closed}{stopped}"


def _traces(outcome: Outcome) -> str:
    """Say what the attack left in the server's counters, its log and its registry."""
    if outcome.bounds is None:
        bounds = "the server doesn't tell its metrics"
    else:
        bounds = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.bounds.items())) or "none"
        bounds = f"bounds reached: {bounds}"
    written = outcome.written
    return (
        f"{bounds}; written: log {written.log_bytes / 1e3:,.0f} KB,"
        f" data {written.disk_bytes / 1e6:,.1f} MB, audit {written.audit_rows:,} rows"
    )


BENCHMARK = Benchmark(
    name="abuse",
    summary="what attacks cost the server and its other clients",
    run=partial(run, tuple(ATTACKS.values())),
)
PARTS = tuple(
    Benchmark(name=f"abuse:{attack.name}", summary=attack.summary, run=partial(run, (attack,)))
    for attack in ATTACKS.values()
)
