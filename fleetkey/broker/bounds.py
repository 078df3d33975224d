"""Who reached which bound: counted each time, said once."""

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
"""Bounds and clients that were logged together and are not again; then it begins anew."""


QUIET_SECONDS = 60.0
"""How long after strangers were logged at a bound no other is: there is no end of their addresses."""


class BoundLog:
    """Logs a client at a bound once, not as often as it comes there; of strangers, one in a while."""

    def __init__(self, counters: Counters, now: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._now = now
        self._logged: set[tuple[str, ...]] = set()
        self._strangers: dict[str, float] = {}
        """When a stranger was logged last, by bound."""

    def reached_by_stranger(self, bound: str, address: str) -> None:
        """Count that someone at an address reached a bound, who hasn't proven who that is."""
        self._counters.bounds[bound] += 1
        now = self._now()
        if now - self._strangers.get(bound, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._strangers[bound] = now
            log.warning("bound_reached", bound=bound, address=address)

    def reached(self, bound: str, **whose: str) -> None:
        """Count that someone known reached a bound; `whose` says who, in the log's words."""
        self._counters.bounds[bound] += 1
        logged = (bound, *whose.values())
        if logged in self._logged:
            return
        if len(self._logged) >= MAX_LOGGED_BOUNDS:
            self._logged.clear()
        self._logged.add(logged)
        log.warning("bound_reached", bound=bound, **whose)
