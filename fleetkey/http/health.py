"""Health checks: whether the server is alive, and whether it is ready for devices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from litestar import Response, get

from fleetkey import __version__
from fleetkey.http.openapi import HEALTH_RESPONSES, LIVE_RESPONSES, READY_RESPONSES
from fleetkey.http.problems import problem
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar.handlers import HTTPRouteHandler

    from fleetkey.access import WorkerPool
    from fleetkey.registry.store import Availability

__all__ = ["Readiness", "health_handlers"]

Answer = Response[dict[str, Any]]
NO_STORE = {"Cache-Control": "no-store"}
RETRY_SECONDS = 2
PING_SECONDS = 2.0
"""How long the registry may take to respond before the server isn't ready."""
REMEMBER_SECONDS = 0.5
"""How long the registry's response is cached, which limits how often it is queried."""


class Readiness:
    """Checks what registrations and connections need: the registry, the broker and the worker pool."""

    def __init__(
        self, store: Availability, pool: WorkerPool, broker_lacks: Callable[[], Awaitable[Sequence[str]]] | None
    ) -> None:
        self._store = store
        self._pool = pool
        self._broker_lacks = broker_lacks
        self._ping: asyncio.Task[bool] | None = None
        self._pinged_at = 0.0

    async def lacking(self) -> list[str]:
        """Return what isn't ready: any of `broker`, `connections`, `disk`, `hash_pool`, `memory`, `store`."""
        found = list(await self._broker_lacks()) if self._broker_lacks is not None else []
        if self._pool.is_full:
            found.append("hash_pool")
        if not await self.store_answers():
            found.append("store")
        return found

    async def store_answers(self) -> bool:
        """Return whether the registry was read within `REMEMBER_SECONDS`, or can be read now within `PING_SECONDS`."""
        now = asyncio.get_running_loop().time()
        if self._ping is None or (self._ping.done() and now - self._pinged_at >= REMEMBER_SECONDS):
            # One at a time, outside the worker pool: a hanging store blocks only one thread, however many requests ask.
            self._ping = asyncio.create_task(asyncio.to_thread(self._is_read), name="fleetkey-ready")
            self._pinged_at = now
        try:
            async with asyncio.timeout(PING_SECONDS):
                return await asyncio.shield(self._ping)
        except TimeoutError:
            return False

    def _is_read(self) -> bool:
        try:
            self._store.ping()
        except StoreError:
            return False
        return True


def health_handlers(
    store: Availability, pool: WorkerPool, broker_lacks: Callable[[], Awaitable[Sequence[str]]] | None
) -> list[HTTPRouteHandler]:
    """Return `GET /health`, `GET /health/live` and `GET /health/ready`."""
    readiness = Readiness(store, pool, broker_lacks)

    @get("/health", responses=HEALTH_RESPONSES)
    async def health() -> Answer:
        """Report whether the registry can be read."""
        if not await readiness.store_answers():
            return problem(503, "The registry can't be read.", retry_after_seconds=RETRY_SECONDS)
        return _ok("ok")

    @get("/health/live", responses=LIVE_RESPONSES)
    async def live() -> Answer:
        """Report that the server is running, without checking anything else."""
        return _ok("live")

    @get("/health/ready", responses=READY_RESPONSES)
    async def ready() -> Answer:
        """Report whether devices can register and connect."""
        lacking = await readiness.lacking()
        if lacking:
            return problem(503, f"Not ready: {', '.join(lacking)}.", retry_after_seconds=RETRY_SECONDS)
        return _ok("ready")

    return [health, live, ready]


def _ok(status: str) -> Answer:
    return Response({"status": status, "version": __version__}, headers=NO_STORE)
