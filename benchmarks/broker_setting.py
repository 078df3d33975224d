"""What the benchmarks of the broker beside mosquitto start from: a compiled load generator, and a fleet in a folder."""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.broker_fleet import make_broker_fleet
from benchmarks.broker_loadgen import compile_loadgen, compiler_path
from benchmarks.broker_servers import mosquitto_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.broker_fleet import BrokerFleet

__all__ = ["Setting", "broker_setting"]

SPARE_FILES = 1_000
"""Descriptors that a broker needs beside its connections, and the load generator likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What there is.

    Args:
        folder: for whatever else is needed; it goes with the benchmark.
        program: the load generator.
        fleet: both brokers know it.
    """

    folder: Path
    program: Path
    fleet: BrokerFleet


@contextmanager
def broker_setting(benchmark: str, *, devices: int, serials: list[str] | None = None) -> Iterator[Setting | None]:
    """Make it while the block runs; None when something is missing, which is said on standard error."""
    if (missing := _missing(devices + SPARE_FILES)) is not None:
        print(f"{benchmark}: skipped, {missing}", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        program = compile_loadgen(folder)
        fleet = make_broker_fleet(folder, devices=devices, serials=serials or [])
        yield Setting(folder=folder, program=program, fleet=fleet)


def _missing(open_files: int) -> str | None:
    if mosquitto_path() is None or shutil.which("mosquitto_passwd") is None:
        return "it needs mosquitto and mosquitto_passwd (Debian: apt-get install mosquitto)"
    if compiler_path() is None:
        return "it needs a C compiler (Debian: apt-get install gcc)"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < open_files:
        return f"it needs {open_files:,} open files and may have {most:,} (ulimit -Hn)"
    # The processes that are started inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    return None
