"""Removing from the broker what belongs to devices and keys that no longer exist.

The broker usually does so at once (`broker/owners.py`). This is for what ended while it wasn't running, or while it
had to start over with the registry's changes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from fleetkey.broker import EngineError
from fleetkey.registry import NotFoundError, StoreError, is_device_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from fleetkey.registry.store import DeviceLookup, KeyLookup

    class OwnerStore(DeviceLookup, KeyLookup, Protocol):
        """The part of the registry that says whether an owner still exists."""


__all__ = ["OrphanCleanup"]

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""Delay before the next try when the registry could not be read."""


class Owners(Protocol):
    """Whatever keeps data of devices and application keys, such as a `BrokerEngine`. Raises `EngineError`."""

    async def owners(self) -> Collection[str]:
        """Return the owners of everything that is kept."""
        ...

    async def forget(self, owner: str) -> None:
        """Remove everything that belongs to an owner."""
        ...


class OrphanCleanup:
    """Removes, on request, the broker's sessions and messages whose owners no longer exist; retries until it succeeds.

    Args:
        store: the registry.
        engine: the broker.
    """

    def __init__(self, store: OwnerStore, engine: Owners) -> None:
        self._store = store
        self._engine = engine
        self._asked = asyncio.Event()

    def request(self) -> None:
        """Request one more cleanup. Owners that end during a cleanup are found by the next."""
        self._asked.set()

    async def run(self) -> None:
        """Clean up at each request, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.clean()
            except (StoreError, EngineError) as error:
                log.error("sweep_failed", error=str(error))  # noqa: TRY400 - the message says it all
                self._asked.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def clean(self) -> None:
        """Remove what belonged to deleted devices and retired keys. Raises `StoreError`, `EngineError`."""
        owners = await self._engine.owners()

        def gone() -> list[str]:
            return [owner for owner in owners if not self._exists(owner)]

        for owner in await asyncio.to_thread(gone):
            await self._engine.forget(owner)

    def _exists(self, owner: str) -> bool:
        try:
            if is_device_id(owner):
                self._store.get_device(owner)
                return True
            return self._store.get_key(owner).retired_at is None
        except NotFoundError:
            return False
