"""Presence: who is connected, recorded in batches, independent of the message path."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from fleetkey.registry import Presence, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from fleetkey.registry.store import PresenceRecords

    class Heard(Protocol):
        """The parts of a connection that are used here."""

        address: str
        last_heard: float


__all__ = ["PresenceRecorder"]

log = structlog.get_logger(__name__)

MAX_NOTED = 100_000
"""How many devices and application keys may wait to be recorded; beyond that the oldest are dropped until a later
record replaces them."""
BATCH = 1_000
"""How many are recorded in one transaction, so that registrations aren't delayed for long."""
NOBODY_LEFT = "server_ended"
"""The reason for those that were connected when the server was killed."""


class PresenceRecorder:
    """Records connects and disconnects every `flush_seconds`, and the time of last contact every `seen_seconds`.

    It does so for owners: devices, which have one connection, and application keys, which may have many.
    """

    def __init__(
        self,
        store: PresenceRecords,
        *,
        flush_seconds: float,
        seen_seconds: float,
        loop_time: Callable[[], float] | None = None,
    ) -> None:
        """Create it without recording anything yet; `loop_time` is the clock of the connections' times."""
        self._store = store
        self._loop_time = loop_time or asyncio.get_running_loop().time
        self._flush_seconds = flush_seconds
        self._seen_seconds = seen_seconds
        self._noted: dict[str, Presence] = {}
        self._connections: dict[str, dict[Heard, int]] = {}
        """By owner: its connections, oldest first, and when each was made."""
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def start(self) -> None:
        """Record that nobody is connected, and start recording. Raises `StoreError`."""
        await asyncio.to_thread(self._store.end_presence, reason=NOBODY_LEFT)
        self._task = asyncio.create_task(self._run(), name="fleetkey-presence")

    async def close(self) -> None:
        """Record what is pending, after the current batch, and stop."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            await self._flush()

    def connected(self, owner: str, connection: Heard) -> None:
        """Note that an owner has connected."""
        now = _now()
        self._connections.setdefault(owner, {})[connection] = now
        self._note(owner, Presence(is_online=True, connected_at=now, last_seen_at=now, address=connection.address))

    def disconnected(self, owner: str, connection: Heard, reason: str) -> None:
        """Note that an owner's connection has ended; it stays online as long as it has another one."""
        connections = self._connections.get(owner, {})
        connected_at = connections.pop(connection, None)
        if connected_at is None or connections:
            return
        del self._connections[owner]
        self._note(
            owner,
            Presence(
                connected_at=connected_at,
                # It is later anyway, unless the clock was set back in the meantime.
                disconnected_at=max(_now(), connected_at),
                last_seen_at=self._seen_at(connection, connected_at),
                address=connection.address,
                reason=reason,
            ),
        )

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._record()
            except Exception:
                log.exception("presence_failed")
                await self._pause()

    async def _record(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time() + self._seen_seconds
        while not self._stopping.is_set():
            await self._pause()
            if loop.time() >= look_at:
                look_at = loop.time() + self._seen_seconds
                await self._look()
            await self._flush()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._flush_seconds):
                await self._stopping.wait()

    async def _look(self) -> None:
        """Note the time of last contact of each connected owner, one batch per turn of the loop."""
        for owners in _batches(list(self._connections)):
            for owner in owners:
                connections = self._connections.get(owner)
                if connections and owner not in self._noted:
                    last = max(connections, key=lambda connection: connection.last_heard)
                    self._note(owner, Presence(is_online=True, last_seen_at=self._seen_at(last, connections[last])))
            await asyncio.sleep(0)

    async def _flush(self) -> None:
        noted, self._noted = self._noted, {}
        for ids in _batches(list(noted)):
            batch = {owner: noted.pop(owner) for owner in ids}
            try:
                await asyncio.to_thread(self._store.record_presence, batch)
            except StoreError as error:
                if not self._is_failing:
                    log.error("presence_not_recorded", error=str(error))  # noqa: TRY400 - the message is the whole story
                self._is_failing = True
                # Whatever was noted in the meantime is newer.
                merged = {**batch, **noted, **self._noted}
                self._noted = dict(list(merged.items())[-MAX_NOTED:])
                return
            self._is_failing = False

    def _seen_at(self, connection: Heard, connected_at: int) -> int:
        """Return the time of a connection's last packet.

        Never before the time of its connect: the CONNECT arrived before that, and the broker's clock advances in steps.
        """
        silent_seconds = max(self._loop_time() - connection.last_heard, 0.0)
        return max(int((time.time() - silent_seconds) * 1000), connected_at)

    def _note(self, owner: str, presence: Presence) -> None:
        if owner not in self._noted and len(self._noted) >= MAX_NOTED:
            with contextlib.suppress(StopIteration):
                del self._noted[next(iter(self._noted))]
        self._noted[owner] = presence


def _batches(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _now() -> int:
    return int(time.time() * 1000)
