"""Who reached which bound: counted each time, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from fleetkey.broker.counters import Counters

__all__ = ["BoundLog"]

log = structlog.get_logger(__name__)

MAX_LOGGED_BOUNDS = 10_000
"""Bounds and clients that were logged together and are not again; then it begins anew."""


class BoundLog:
    """Logs a client at a bound once, not as often as it comes there."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._logged: set[tuple[str, ...]] = set()

    def reached(self, bound: str, **whose: str) -> None:
        """Count that someone reached a bound; `whose` says who, in the log's words."""
        self._counters.bounds[bound] += 1
        logged = (bound, *whose.values())
        if logged in self._logged:
            return
        if len(self._logged) >= MAX_LOGGED_BOUNDS:
            self._logged.clear()
        self._logged.add(logged)
        log.warning("bound_reached", bound=bound, **whose)
