"""Noting in the registry how far the server's clock has come, so that the next process goes on from there."""

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
"""Between two notes: by as much, sessions may count too little after a power cut."""
LOOK_SECONDS = 1.0
"""Between two looks whether the clock has followed the system's, which is noted at once: commands go by the note."""


class ClockKeeper:
    """Notes the time every `SAVE_SECONDS`, when the clock followed the system's, and when it is asked to."""

    def __init__(self, store: ClockMarks, clock: SteadyClock) -> None:
        self._store = store
        self._clock = clock
        self._follows_noted = clock.follows
        self._is_failing = False

    async def run(self) -> None:
        """Note it until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due or self._clock.follows != self._follows_noted:
                due = loop.time() + SAVE_SECONDS
                await self.save()
            await asyncio.sleep(LOOK_SECONDS)

    async def save(self) -> None:
        """Note it now; if that fails, say so once and go on: the next process begins from the note before."""
        self._follows_noted = self._clock.follows
        try:
            await asyncio.to_thread(self._store.save_clock, self._clock.mark())
        except StoreError as error:
            if not self._is_failing:
                log.error("clock_not_noted", error=str(error))  # noqa: TRY400 - the message is the whole story
            self._is_failing = True
        else:
            self._is_failing = False
