"""The bundled broker, side by side with mosquitto, over loopback.

Both run as processes on this machine, one round of ours and one of mosquitto's in turn. The clients are a load
generator in C that is compiled for the run. `fleetkey serve` has its defaults, but for the rate limits of registration.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.broker_fairness import fairness_figures
from benchmarks.broker_fleet import make_broker_fleet, new_serials
from benchmarks.broker_loadgen import compile_loadgen, compiler_path
from benchmarks.broker_ramp import PROBES, ramp_figures
from benchmarks.broker_registrations import SERIALS_NEEDED, registration_figures
from benchmarks.broker_restart import restart_figures
from benchmarks.broker_scope import scope_figures
from benchmarks.broker_servers import mosquitto_path
from benchmarks.figure import Benchmark
from benchmarks.plots.curves import SIZES

if TYPE_CHECKING:
    from benchmarks.figure import Figure

__all__ = ["BENCHMARK"]

DEVICES = max(SIZES) + PROBES
OPEN_FILES = DEVICES + 1_000
"""Descriptors that the broker needs, and the load generator likewise."""


def run() -> list[Figure]:
    """Measure everything, or say on standard error what is missing and return nothing."""
    if (missing := _missing()) is not None:
        print(f"broker: skipped, {missing}", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        serials = new_serials(SERIALS_NEEDED)
        program = compile_loadgen(folder)
        fleet = make_broker_fleet(folder, devices=DEVICES, serials=serials)
        return [
            *ramp_figures(program, fleet),
            *restart_figures(program, fleet),
            *fairness_figures(program, fleet),
            *scope_figures(folder, fleet),
            *registration_figures(program, fleet, serials),
        ]


def _missing() -> str | None:
    if mosquitto_path() is None or shutil.which("mosquitto_passwd") is None:
        return "it needs mosquitto and mosquitto_passwd (Debian: apt-get install mosquitto)"
    if compiler_path() is None:
        return "it needs a C compiler (Debian: apt-get install gcc)"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        return f"it needs {OPEN_FILES:,} open files and may have {most:,} (ulimit -Hn)"
    # The processes that are started inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, most))
    return None


BENCHMARK = Benchmark(name="broker", summary="the bundled broker beside mosquitto", run=run)
