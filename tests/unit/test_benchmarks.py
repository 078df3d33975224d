"""The benchmarks, as far as that takes no time: some are made from the source of what they measure."""

from __future__ import annotations

from benchmarks.catalog import BENCHMARKS, PARTS


def test_importable() -> None:
    """All of them can be imported, and each part belongs to one of them."""
    assert {name.split(":")[0].split("-memory")[0] for name in PARTS} <= {"abuse", "broker"}
    assert {"broker", "abuse", "same_answers"} <= BENCHMARKS.keys()
