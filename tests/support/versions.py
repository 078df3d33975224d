"""The MQTT version that tests speak unless they say otherwise, so that the same test can be run for both."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EACH_VERSION", "LEVEL_3_1_1", "LEVEL_5", "current_level", "speaking"]

LEVEL_3_1_1, LEVEL_5 = 4, 5
"""The protocol levels in CONNECT (3.1.2.2)."""

EACH_VERSION = pytest.mark.usefixtures("each_version")
"""Runs a test once for each version (`tests/conformance/conftest.py`)."""

_levels = [LEVEL_3_1_1]


def current_level() -> int:
    """Return the protocol level of clients that are made now."""
    return _levels[-1]


@contextmanager
def speaking(level: int) -> Iterator[None]:
    """Let clients speak a version."""
    _levels.append(level)
    try:
        yield
    finally:
        _levels.pop()
