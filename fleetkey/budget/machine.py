"""What this machine, or the container that the process runs in, has."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["free_disk_bytes", "machine_memory_bytes", "resident_bytes"]

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
"""Lines such as `0::/system.slice/fleetkey.service` (version 2) and `4:memory:/docker/1f2e` (version 1)."""
STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def machine_memory_bytes(own_cgroups: Path = OWN_CGROUPS, cgroups: Path = CGROUPS) -> int:
    """Return the memory of the machine, or of the container or service if that may use less."""
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    for limit in _cgroup_limits(own_cgroups, cgroups):
        # `max`: no limit.
        with suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    return memory


def resident_bytes() -> int | None:
    """Return how much memory the process uses now; None if the system doesn't say."""
    try:
        return int(STATM.read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def free_disk_bytes(folder: Path) -> int:
    """Return how much can be written to a folder's file system. Raises `OSError`."""
    return shutil.disk_usage(folder).free


def _cgroup_limits(own_cgroups: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the files that may hold a limit: of the process's own groups, and of those that contain them."""
    with suppress(OSError):
        for line in own_cgroups.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers == "":
                root, name = cgroups, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = cgroups / "memory", "memory.limit_in_bytes"
            else:
                continue
            # In a container, the path may be the host's, while the files of its own group are at the root.
            parts = PurePosixPath(own).parts[1:]
            for depth in range(len(parts), -1, -1):
                yield root.joinpath(*parts[:depth], name)
