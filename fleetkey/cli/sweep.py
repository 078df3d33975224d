"""Leaving nothing in the broker of owners that ended while nobody told it."""

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
        """Where owners are looked for."""


__all__ = ["Sweep"]

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""Before the next try, when the registry could not be read."""


class Owners(Protocol):
    """Whoever has something of devices and application keys; `BrokerEngine` is one. Raises `EngineError`."""

    async def owners(self) -> Collection[str]:
        """Return of whom there is anything."""
        ...

    async def forget(self, owner: str) -> None:
        """Leave nothing of an owner."""
        ...


class Sweep:
    """Looks, when it is asked to, which owners of the broker's sessions and messages are gone, until it could look.

    Args:
        store: the registry.
        engine: who carries the messages.
    """

    def __init__(self, store: OwnerStore, engine: Owners) -> None:
        self._store = store
        self._engine = engine
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for one more look; what ended while one is under way is found by the next."""
        self._asked.set()

    async def run(self) -> None:
        """Look whenever it is asked for, until it is cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.look()
            except (StoreError, EngineError) as error:
                log.error("sweep_failed", error=str(error))  # noqa: TRY400 - the message is the whole story
                self._asked.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def look(self) -> None:
        """Drop what is of devices that were deleted, and keys that were retired. Raises `StoreError`, `EngineError`."""
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
