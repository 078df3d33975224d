"""`/health/live` and `/health/ready`, over a registry, a hash pool and listeners that come and go."""

from __future__ import annotations

import asyncio
import resource
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from fleetkey.access import WorkerPool
from fleetkey.http import health
from fleetkey.http.health import health_handlers
from fleetkey.registry import SqliteStore, StoreError
from fleetkey.registry.sqlite import sqlite_store
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class _Rig:
    """A server's parts, and what of them is lacking."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "fleetkey.db")
        self.pool = WorkerPool(workers=1, max_pending=2)
        self.broker_lacks: list[str] = []
        handlers = health_handlers(self.store, self.pool, self.lacks)
        self.client = AsyncTestClient(Litestar(handlers, logging_config=None))

    async def lacks(self) -> list[str]:
        """Return what the broker lacks."""
        return self.broker_lacks

    async def ready(self) -> tuple[int, str]:
        """Ask, and return status and detail."""
        answer = await self.client.get("/health/ready")
        assert answer.headers["cache-control"] == "no-store"
        return answer.status_code, answer.json().get("detail", "")


@asynccontextmanager
async def _rig(folder: Path) -> AsyncIterator[_Rig]:
    rig = _Rig(folder)
    try:
        async with rig.client:
            yield rig
    finally:
        await asyncio.to_thread(rig.pool.close)
        rig.store.close()


async def test_ready(tmp_path: Path) -> None:
    """Ready with everything there; with a broker that clients can't connect to, not ready and still alive."""
    async with _rig(tmp_path) as rig:
        assert await rig.ready() == (200, "")
        for lacking in ("broker", "connections"):
            rig.broker_lacks = [lacking]
            assert await rig.ready() == (503, f"Not ready: {lacking}.")
        assert (await rig.client.get("/health/live")).json()["status"] == "live"


async def test_ready_without_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that can't be read makes it not ready, once the last answer is old."""
    monkeypatch.setattr(health, "REMEMBER_SECONDS", 0)
    async with _rig(tmp_path) as rig:
        assert await rig.ready() == (200, "")
        rig.store.close()
        assert await rig.ready() == (503, "Not ready: store.")
        assert (await rig.client.get("/health/live")).status_code == 200


async def test_ready_with_full_pool(tmp_path: Path) -> None:
    """A hash pool that takes nothing more makes it not ready, until it does again; the store is asked beside it."""
    async with _rig(tmp_path) as rig:
        let_go = threading.Event()
        jobs = [asyncio.ensure_future(rig.pool.run(let_go.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        try:
            assert await rig.ready() == (503, "Not ready: hash_pool.")
        finally:
            let_go.set()
        await asyncio.gather(*jobs)
        assert await rig.ready() == (200, "")


async def test_ready_with_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, one thread waits for a registry that hangs, and each gets its answer in time."""
    monkeypatch.setattr(health, "PING_SECONDS", 0.1)
    async with _rig(tmp_path) as rig:
        let_go, calls = threading.Event(), list[int]()

        def ping() -> None:
            calls.append(1)
            let_go.wait(10)

        monkeypatch.setattr(rig.store, "ping", ping)
        try:
            answers = await asyncio.gather(*(rig.ready() for _ in range(20)))
        finally:
            let_go.set()
        assert set(answers) == {(503, "Not ready: store.")}
        assert len(calls) == 1


async def test_ready_with_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry whose last change could not be written makes it not ready, until one can be."""
    monkeypatch.setattr(health, "REMEMBER_SECONDS", 0)
    async with _rig(tmp_path) as rig:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        assert await rig.ready() == (200, "")
        room = rig.store.path.with_name("fleetkey.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(StoreError):
                issue(rig.store)
            assert await rig.ready() == (503, "Not ready: store.")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert await rig.ready() == (503, "Not ready: store.")
        monkeypatch.setattr(sqlite_store, "UNWRITABLE_SECONDS", 0)
        assert await rig.ready() == (200, "")
