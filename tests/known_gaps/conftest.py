"""Promises of the broker that are not all kept yet; `pytest -m known_gap tests/known_gaps` says which.

Each module holds at least one test that fails. A module moves to `tests/isolation/` when all of it passes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave this folder out, unless `-m` speaks of it."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.known_gap)
    if ours and "known_gap" not in (config.getoption("markexpr") or ""):
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if not item.path.is_relative_to(HERE)]
