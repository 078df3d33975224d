"""All webhooks of a server: started before it serves, stopped after it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import structlog

from fleetkey.webhooks.delivery import HookWorker
from fleetkey.webhooks.events import EventReader
from fleetkey.webhooks.sender import HookSender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from fleetkey.config import WebhookSettings
    from fleetkey.registry import WebhookState
    from fleetkey.registry.store import StoreTime, WebhookProgress
    from fleetkey.webhooks.events import EventStore

    class WebhookStore(EventStore, WebhookProgress, StoreTime, Protocol):
        """What events are made from, and where the webhooks' progress is stored."""


__all__ = ["Webhooks"]

log = structlog.get_logger(__name__)

STOP_SECONDS = 2.0
"""For requests that are on their way when the server stops; what was cut off is sent again at the next start."""

T = TypeVar("T")


class Webhooks:
    """One worker a webhook, on the running event loop; one thread reads and stores for all of them.

    So a webhook that is down holds `BATCH` events and one connection, and nothing that registers waits for it.
    """

    def __init__(self, settings: Mapping[str, WebhookSettings], store: WebhookStore) -> None:
        """Read the secrets.

        Raises:
            SharedSecretError: a webhook's secret can't be used.
            SettingsError: a webhook's CA file can't be used.
        """
        self._settings = settings
        self._store = store
        self._senders = {name: HookSender(name, hook) for name, hook in settings.items()}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fleetkey-webhooks") if settings else None
        self._workers: list[HookWorker] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Store where each new webhook begins, and begin. What is committed from now on is delivered.

        Raises:
            StoreError: that can't be stored.
        """
        for name, hook in self._settings.items():
            state = await self._blocking(lambda name=name: self._store.begin_webhook(name))  # type: ignore[misc]
            self._workers.append(
                HookWorker(
                    state,
                    store=self._store,
                    reader=EventReader(self._store, hook.events),
                    sender=self._senders[name],
                    give_up_seconds=hook.give_up_seconds,
                    blocking=self._blocking,
                    # Events are stamped by it, so that a jump of the system's clock gives up none of them.
                    clock=self._store.now,
                )
            )
        self._tasks = [
            asyncio.create_task(worker.run(), name=f"fleetkey-webhook-{worker.state.name}") for worker in self._workers
        ]

        for task in self._tasks:
            task.add_done_callback(_complain)

    def wake(self) -> None:
        """Say that something was committed. Call on the event loop."""
        for worker in self._workers:
            worker.wake()

    def states(self) -> Sequence[WebhookState]:
        """Return where each webhook is, what it delivered, gave up and missed."""
        return [worker.state for worker in self._workers]

    async def stop(self) -> None:
        """Let requests end for up to `STOP_SECONDS`, and store where the webhooks are."""
        for worker in self._workers:
            worker.stop()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            for task in pending:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for sender in self._senders.values():
            await sender.close()
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)

    async def _blocking(self, work: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _complain(task: asyncio.Task[None]) -> None:
    """Say loudly that a worker broke; its position is stored, and the next start goes on from there."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("webhook_broken", task=task.get_name(), error=type(error).__name__, exc_info=error)
