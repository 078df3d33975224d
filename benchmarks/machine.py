"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib.metadata import version
from typing import Any

__all__ = ["machine_facts"]

SYNCS = 50
PAGE = b"\0" * 4096


def machine_facts() -> dict[str, Any]:
    """Return what moves the figures: cores, versions, the disk's flush, and how busy the machine was."""
    return {
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "bcrypt": version("bcrypt"),
        "amqtt": version("amqtt"),
        "fsync_ms": round(_fsync_ms(), 3),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _fsync_ms() -> float:
    """Return the median time to make a page durable in the folder for temporary files."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            start = time.perf_counter()
            file.write(PAGE)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000
