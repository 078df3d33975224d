"""The benchmarks there are; a new one is a module with a `BENCHMARK` and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import (
    across_devices,
    admin_api,
    authentication,
    broker_crowd,
    broker_memory,
    broker_suite,
    broker_transports,
    broker_versions,
    live_fleet,
    registration,
    same_answers,
    scale,
    topics,
)
from benchmarks.abuse import suite as abuse

if TYPE_CHECKING:
    from benchmarks.figure import Benchmark

__all__ = ["BENCHMARKS", "PARTS"]

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        registration,
        authentication,
        same_answers,
        topics,
        across_devices,
        scale,
        admin_api,
        broker_suite,
        broker_versions,
        broker_transports,
        broker_crowd,
        broker_memory,
        live_fleet,
        abuse,
    )
}
PARTS: dict[str, Benchmark] = {part.name: part for part in (*broker_memory.PARTS, *abuse.PARTS)}
"""Parts of a benchmark that can be measured alone."""
