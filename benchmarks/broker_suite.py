"""The bundled broker, side by side with mosquitto, over loopback.

Both run as processes on this machine, one round of ours and one of mosquitto's in turn. The clients are a load
generator in C that is compiled for the run. `fleetkey serve` has its defaults, but for the rate limits of registration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.broker_fairness import fairness_figures
from benchmarks.broker_fleet import new_serials
from benchmarks.broker_ramp import PROBES, ramp_figures
from benchmarks.broker_registrations import SERIALS_NEEDED, registration_figures
from benchmarks.broker_restart import restart_figures
from benchmarks.broker_scope import scope_figures
from benchmarks.broker_setting import broker_setting
from benchmarks.figure import Benchmark
from benchmarks.plots.curves import SIZES

if TYPE_CHECKING:
    from benchmarks.figure import Figure

__all__ = ["BENCHMARK"]

DEVICES = max(SIZES) + PROBES


def run() -> list[Figure]:
    """Measure everything, or say on standard error what is missing and return nothing."""
    serials = new_serials(SERIALS_NEEDED)
    with broker_setting("broker", devices=DEVICES, serials=serials) as setting:
        if setting is None:
            return []
        return [
            *ramp_figures(setting.program, setting.fleet),
            *restart_figures(setting.program, setting.fleet),
            *fairness_figures(setting.program, setting.fleet),
            *scope_figures(setting.folder, setting.fleet),
            *registration_figures(setting.program, setting.fleet, serials),
        ]


BENCHMARK = Benchmark(name="broker", summary="the bundled broker beside mosquitto", run=run)
