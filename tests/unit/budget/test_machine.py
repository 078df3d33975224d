"""How much memory the machine, or the container, has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.budget import machine_memory_bytes, resident_bytes

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("own", "file", "limit", "expected"),
    [
        ("0::/system.slice/fleetkey.service\n", "system.slice/fleetkey.service/memory.max", "67108864\n", 64),
        ("0::/system.slice/fleetkey.service\n", "system.slice/memory.max", "33554432\n", 32),
        ("0::/\n", "memory.max", "50331648\n", 48),
        ("4:cpu,memory:/docker/1f2e\n", "memory/docker/1f2e/memory.limit_in_bytes", "67108864\n", 64),
        ("4:memory:/docker/1f2e\n", "memory/memory.limit_in_bytes", "67108864\n", 64),
        ("0::/\n", "memory.max", "max\n", None),
        ("0::/\n", "memory.max", "9223372036854771712\n", None),
        ("", "memory.max", "50331648\n", None),
    ],
)
def test_memory_of_cgroup(tmp_path: Path, own: str, file: str, limit: str, expected: int | None) -> None:
    """The lowest limit of the process's control groups counts, in both versions; the machine's otherwise."""
    (tmp_path / "own").write_text(own)
    path = tmp_path / "cgroups" / file
    path.parent.mkdir(parents=True)
    path.write_text(limit)
    whole = machine_memory_bytes(tmp_path / "missing", tmp_path / "cgroups")
    assert whole > 64 * MIB
    found = machine_memory_bytes(tmp_path / "own", tmp_path / "cgroups")
    assert found == (whole if expected is None else expected * MIB)


def test_resident() -> None:
    """The process's memory is known, and of a plausible size."""
    resident = resident_bytes()
    assert resident is not None
    assert 5 * MIB < resident < 64 * 1024 * MIB
