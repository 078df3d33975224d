"""The worker of a webhook: it delivers events in order, each until it is accepted or given up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from fleetkey.registry import StoreError
from fleetkey.webhooks.sender import Failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fleetkey.registry import WebhookState
    from fleetkey.registry.store import WebhookProgress
    from fleetkey.webhooks.events import Event, EventReader
    from fleetkey.webhooks.sender import Sent

__all__ = ["HookWorker"]

log = structlog.get_logger(__name__)

FIRST_DELAY_SECONDS = 1.0
"""Delay before the second attempt; it doubles with each further one, up to `MAX_DELAY_SECONDS`."""
MAX_DELAY_SECONDS = 300.0
MIN_ATTEMPTS = 3
"""How many attempts an event gets, however old it is."""
SAVE_SECONDS = 0.5
"""How long a position may be ahead of the stored one; after a kill -9, that much is sent again."""
IDLE_SECONDS = 30.0
"""Interval between checks of the feed without a notification."""
STORE_RETRY_SECONDS = 1.0
BROKEN_RETRY_SECONDS = 5.0
"""Delay before a failed worker continues."""

T = TypeVar("T")


class Sender(Protocol):
    """What a worker needs from a sender."""

    async def send(self, event: Event) -> Sent | Failed:
        """Post an event once."""
        ...


class Blocking(Protocol):
    """Runs blocking work in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run work and return its result."""
        ...


class HookWorker:
    """Follows the feed for one webhook, with one request at a time, which preserves the order."""

    def __init__(
        self,
        state: WebhookState,
        *,
        store: WebhookProgress,
        reader: EventReader,
        sender: Sender,
        give_up_seconds: float,
        blocking: Blocking,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self._store = store
        self._reader = reader
        self._sender = sender
        self._give_up_seconds = give_up_seconds
        self._blocking = blocking
        self._first_delay_seconds = first_delay_seconds
        self._broken_seconds = BROKEN_RETRY_SECONDS * first_delay_seconds / FIRST_DELAY_SECONDS
        self._clock = clock
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failures = 0
        self._saved = state
        self._saved_at = time.monotonic()

    def wake(self) -> None:
        """Notify the worker of a commit."""
        self._news.set()

    def stop(self) -> None:
        """Stop after the current request."""
        self._stopping.set()
        self._news.set()

    async def run(self) -> None:
        """Deliver until `stop`."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._deliver_batch()
                except StoreError as error:
                    log.error("webhook_store_failed", webhook=self.state.name, error=str(error))  # noqa: TRY400 - the message is the whole story
                    await self._pause(STORE_RETRY_SECONDS)
                except Exception:
                    # Whatever the error, the next attempt may succeed; a worker that ended would deliver nothing.
                    log.exception("webhook_broken", webhook=self.state.name)
                    self.state = replace(self.state, last_error="broken")
                    await self._pause(self._broken_seconds)
        finally:
            with contextlib.suppress(StoreError):
                await self._save()

    async def _deliver_batch(self) -> None:
        self._news.clear()
        found = await self._blocking(lambda: self._reader.read(self.state.position))
        if found.missed:
            self._note_missed(found.missed)
        for position, event in found.items:
            if event is not None and not await self._deliver(event):
                return
            self.state = replace(self.state, position=position)
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                await self._save()
        if not found.items:
            await self._note_rewound()
            await self._save()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._news.wait()

    async def _deliver(self, event: Event) -> bool:
        """Return whether the event is done; False if the worker was stopped before."""
        attempts = 0
        while not self._stopping.is_set():
            outcome = await self._sender.send(event)
            attempts += 1
            if not isinstance(outcome, Failed):
                self._failures = 0
                now = int(self._clock() * 1000)
                self.state = replace(self.state, delivered=self.state.delivered + 1, delivered_at=now, last_error="")
                return True
            self._failures += 1
            self.state = replace(self.state, last_error=outcome.reason)
            fields = {"webhook": self.state.name, "event_id": event.event_id, "reason": outcome.reason}
            if attempts >= MIN_ATTEMPTS and self._clock() - event.at / 1000 > self._give_up_seconds:
                log.error("webhook_gave_up", **fields, attempts=attempts, meaning="the receiver never accepted it")
                self.state = replace(self.state, given_up=self.state.given_up + 1)
                return True
            seconds = self._delay_seconds()
            log.warning("webhook_failed", **fields, attempts=attempts, next_try_seconds=round(seconds, 1))
            await self._save()
            await self._pause(seconds)
        return False

    def _delay_seconds(self) -> float:
        """Return the delay before the next attempt: growing, with jitter so that webhooks don't synchronize."""
        doubled = self._first_delay_seconds * 2.0 ** min(self._failures - 1, 30)
        return min(doubled, MAX_DELAY_SECONDS) * random.uniform(0.8, 1.0)  # noqa: S311 - nobody gains by guessing it

    def _note_missed(self, count: int) -> None:
        log.error(
            "webhook_changes_missed",
            webhook=self.state.name,
            changes=count,
            meaning="they were deleted from the change feed before the webhook processed them, and will not be sent",
            advice="fix the receiver or raise [store] max_change_rows; compare its data with `fleetkey devices list`",
        )
        self.state = replace(self.state, missed=self.state.missed + count, position=self.state.position + count)

    async def _note_rewound(self) -> None:
        """Continue at the end of a feed that ends before the position, because the registry was replaced."""
        newest = await self._blocking(self._reader.newest)
        if newest < self.state.position:
            log.error(
                "webhook_position_lost",
                webhook=self.state.name,
                meaning="the feed ends before it; continuing from there",
            )
            self.state = replace(self.state, position=newest)

    async def _save(self) -> None:
        state = self.state
        if state != self._saved:
            await self._blocking(lambda: self._store.save_webhook(state))
            self._saved = state
        self._saved_at = time.monotonic()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
