"""Waiting for something to become so, never longer than a bound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WAIT_SECONDS", "eventually"]

WAIT_SECONDS = 10.0
POLL_SECONDS = 0.01


def eventually(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> bool:
    """Wait until a condition holds, and return whether it did within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
