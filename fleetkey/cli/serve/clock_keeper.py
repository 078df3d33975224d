"""Recording the server's clock in the registry, so that the next process continues from there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from fleetkey.registry import SteadyClock
    from fleetkey.registry.store import ClockMarks

__all__ = ["ClockKeeper"]

log = structlog.get_logger(__name__)

SAVE_SECONDS = 60.0
"""Interval between two records. After a power cut, up to this much time may be missing from the age of sessions."""
LOOK_SECONDS = 1.0
"""Interval between checks whether the clock has adopted the system's time. Commands use the record, so a change is
recorded at once."""


class ClockKeeper:
    """Records the time every `SAVE_SECONDS`, when the clock adopts the system's time, and on request."""

    def __init__(self, store: ClockMarks, clock: SteadyClock) -> None:
        self._store = store
        self._clock = clock
        self._follows_saved = clock.follows
        self._is_failing = False

    async def run(self) -> None:
        """Keep recording until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due or self._clock.follows != self._follows_saved:
                due = loop.time() + SAVE_SECONDS
                await self.save()
            await asyncio.sleep(LOOK_SECONDS)

    async def save(self) -> None:
        """Record the time now. A failure is logged once and tolerated: the next process starts from an older record."""
        self._follows_saved = self._clock.follows
        try:
            await asyncio.to_thread(self._store.save_clock, self._clock.mark())
        except StoreError as error:
            if not self._is_failing:
                log.error("clock_not_noted", error=str(error))  # noqa: TRY400 - the message says it all
            self._is_failing = True
        else:
            self._is_failing = False
