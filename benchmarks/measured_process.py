"""`python -m benchmarks.measured_process COMMAND…`: runs a command and prints, as JSON, what it took.

Between the benchmark and the command there is this small process on purpose: Linux counts the memory of whoever
started a process into its peak, and a benchmark that has just built a fleet is large.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

__all__ = ["Measured", "measure"]

BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a process took from start to end."""

    seconds: float
    peak_mib: float
    output: str = ""


def measure(command: list[str]) -> Measured:
    """Run a command through a small process. Raises `CalledProcessError` if it fails."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.measured_process", *command], stdout=subprocess.PIPE, check=True
    )
    return Measured(**json.loads(result.stdout))


def _main() -> None:
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    peak_mib = usage.ru_maxrss * BYTES_PER_MAXRSS / 2**20
    print(json.dumps(asdict(Measured(seconds=seconds, peak_mib=peak_mib, output=output))))
    sys.exit(process.returncode != 0)


if __name__ == "__main__":
    _main()
