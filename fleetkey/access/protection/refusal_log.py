"""Logs refusals up to a bound per minute, and how many more there were."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from fleetkey.access.protection.rate_limits import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RefusalLog"]

log = structlog.get_logger(__name__)

MAX_LINES = 600
"""Lines per minute caused by all strangers together; authenticated clients together have as many of their own."""
MAX_LINES_OF_ONE = 20
"""How many of the latter one device, application key or token may cause."""
MAX_TRACKED = 10_000
"""Devices, keys and tokens whose lines are counted separately; beyond that, the least recently seen one is dropped, and
its count restarts, within `MAX_LINES`."""
SUMMARY_SECONDS = 60.0
"""How long refusals without a line are counted before one line per event and reason says how many there were."""
MAX_SUMMARIES = 100
"""Reasons counted separately. Reasons are our own words, so this is only a safety net; any more count as `other`."""
STRANGERS, PROVEN = "strangers", "proven"
OTHER = "other"


class RefusalLog:
    """Logs events that clients can cause without limit, within a budget; beyond it, counts them and logs the number.

    Strangers choose how many addresses they use, so they share one budget. Authenticated clients have another, so that
    a flood of strangers doesn't hide the refusals of the fleet's own devices. Belongs to one event loop.

    Args:
        clock: seconds, for the budgets.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._budgets = RateLimiter(limit=MAX_LINES, window_seconds=60, max_tracked=2, clock=clock)
        self._of_one = RateLimiter(limit=MAX_LINES_OF_ONE, window_seconds=60, max_tracked=MAX_TRACKED, clock=clock)
        self._further: Counter[tuple[str, str]] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self.unlogged: Counter[str] = Counter()
        """How many had no line of their own, by event; the labels of a metric."""

    def stranger(self, event: str, *, level: int = logging.INFO, **fields: object) -> bool:
        """Log an event caused by an unauthenticated client; False if it is only counted."""
        return self._say(event, STRANGERS, level, fields)

    def proven(self, event: str, who: str, *, level: int = logging.INFO, **fields: object) -> bool:
        """Log an event caused by an authenticated device, key or token; False if it is only counted."""
        if self._of_one.admit(who):
            self.count(event, str(fields.get("reason", "")))
            return False
        return self._say(event, PROVEN, level, fields)

    def count(self, event: str, reason: str) -> None:
        """Count an event instead of logging it; within `SUMMARY_SECONDS` a line says how often it occurred."""
        self.unlogged[event] += 1
        summary = event, reason
        if summary not in self._further and len(self._further) >= MAX_SUMMARIES:
            summary = event, OTHER
        self._further[summary] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SUMMARY_SECONDS, self._sum_up)

    def close(self) -> None:
        """Log what was counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._sum_up()

    def _say(self, event: str, whose: str, level: int, fields: dict[str, object]) -> bool:
        if self._budgets.admit(whose):
            self.count(event, str(fields.get("reason", "")))
            return False
        log.log(level, event, **fields)
        return True

    def _sum_up(self) -> None:
        self._timer = None
        further, self._further = self._further, Counter()
        for (event, reason), number in further.items():
            log.warning("refusals_not_logged", of=event, reason=reason, further=number)
