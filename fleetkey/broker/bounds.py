"""Reports bounds that were reached: counted each time, logged once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.counters import Counters

__all__ = ["BoundLog"]

log = structlog.get_logger(__name__)

MAX_LOGGED_BOUNDS = 10_000
"""How many (bound, client) pairs are remembered as logged; beyond that, all are forgotten."""


QUIET_SECONDS = 60.0
"""Minimum interval between log lines about strangers at a bound, since their addresses are unlimited."""


class BoundLog:
    """Logs each client once per bound, and strangers at most every `QUIET_SECONDS`."""

    def __init__(self, counters: Counters, now: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._now = now
        self._logged: set[int] = set()
        """Hashes of a bound and whose: names can be long."""
        self._strangers: dict[str, float] = {}
        """When a stranger was last logged, by bound."""

    def reached_by_stranger(self, bound: str, address: str) -> None:
        """Count that an unauthenticated client at an address reached a bound."""
        self._counters.bounds[bound] += 1
        now = self._now()
        if now - self._strangers.get(bound, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._strangers[bound] = now
            log.warning("bound_reached", bound=bound, address=address)

    def reached(self, bound: str, **whose: str) -> None:
        """Count that an authenticated client reached a bound; `whose` identifies it in the log."""
        self._counters.bounds[bound] += 1
        logged = hash((bound, *whose.values()))
        if logged in self._logged:
            return
        if len(self._logged) >= MAX_LOGGED_BOUNDS:
            self._logged.clear()
        self._logged.add(logged)
        log.warning("bound_reached", bound=bound, **whose)
