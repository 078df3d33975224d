"""The MQTT version that tests speak unless they say otherwise, so that the same test can be run for both."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "EACH_VERSION",
    "IDS",
    "LEVEL_3_1_1",
    "LEVEL_5",
    "current_level",
    "in_turn",
    "only_3_1_1",
    "only_5",
    "shared_code",
    "speaking",
]

LEVEL_3_1_1, LEVEL_5 = 4, 5
"""The protocol levels in CONNECT (3.1.2.2)."""

EACH_VERSION = pytest.mark.usefixtures("each_version")
"""Runs a test once for each version (`tests/conformance/conftest.py`)."""
only_3_1_1, only_5 = pytest.mark.versions(LEVEL_3_1_1), pytest.mark.versions(LEVEL_5)
"""Marks of tests that run in one version, where all others run in both: they are about it, or take long."""

IDS = {LEVEL_3_1_1: "v3.1.1", LEVEL_5: "v5"}

_levels = [LEVEL_3_1_1]


def current_level() -> int:
    """Return the protocol level of clients that are made now."""
    return _levels[-1]


def in_turn(name: str, values: Iterable[object]) -> pytest.MarkDecorator:
    """Parametrize a test that takes long: it runs for one version with the first value, for the other with the next."""
    pairs = list(zip(cycle(IDS), values, strict=False))
    ids = [f"{IDS[level]}-{value}" for level, value in pairs]
    return pytest.mark.parametrize(("version", name), pairs, indirect=["version"], ids=ids)


def shared_code(code: int) -> int:
    """Return how `$share/GROUP/FILTER` is answered if FILTER alone is answered with `code`; 3.1.1 has no groups."""
    return code if current_level() == LEVEL_5 else 0x80


@contextmanager
def speaking(level: int) -> Iterator[None]:
    """Let clients speak a version."""
    _levels.append(level)
    try:
        yield
    finally:
        _levels.pop()
