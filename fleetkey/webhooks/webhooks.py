"""All webhooks of a server: started before it serves, and stopped after it."""

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
        """The parts of the registry that webhooks use."""


__all__ = ["Webhooks"]

log = structlog.get_logger(__name__)

STOP_SECONDS = 2.0
"""How long current requests may take when the server stops; interrupted ones are repeated at the next start."""

T = TypeVar("T")


class Webhooks:
    """One worker per webhook, on the running event loop; one thread reads and stores for all of them.

    So a webhook that is down holds `BATCH` events and one connection, and no registration waits for it.
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
        """Store where each new webhook starts, and start the workers. Changes committed from now on are delivered.

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
                    # Events are timestamped by it, so that a clock jump doesn't make any of them expire.
                    clock=self._store.now,
                )
            )
        self._tasks = [
            asyncio.create_task(worker.run(), name=f"fleetkey-webhook-{worker.state.name}") for worker in self._workers
        ]

        for task in self._tasks:
            task.add_done_callback(_complain)

    def wake(self) -> None:
        """Notify the workers of a commit. Call it on the event loop."""
        for worker in self._workers:
            worker.wake()

    def states(self) -> Sequence[WebhookState]:
        """Return each webhook's position, and what it delivered, gave up and missed."""
        return [worker.state for worker in self._workers]

    async def stop(self) -> None:
        """Wait for requests for up to `STOP_SECONDS`, and store the webhooks' positions."""
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
    """Log that a worker failed. Its position is stored, and the next start continues from there."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("webhook_broken", task=task.get_name(), error=type(error).__name__, exc_info=error)
