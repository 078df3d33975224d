"""What ended while nobody told the broker."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.cli.serve import orphan_cleanup
from fleetkey.cli.serve.orphan_cleanup import OrphanCleanup
from fleetkey.registry import SqliteStore
from tests.unit.access.access_rig import until
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Owners:
    """An engine that has something of these."""

    def __init__(self, *owners: str) -> None:
        self.known = list(owners)
        self.forgotten: list[str] = []

    async def owners(self) -> list[str]:
        """Return them."""
        return self.known

    async def forget(self, owner: str) -> None:
        """Note who is forgotten."""
        self.forgotten.append(owner)


async def test_asked_again_while_it_looks(tmp_path: Path) -> None:
    """What ends while a look is under way is found by the next, which nobody has to wait for."""
    store = SqliteStore(tmp_path / "fleetkey.db")
    first, second = (issue(store, serial)[1] for serial in ("S1", "S2"))
    engine = Owners(first, second)
    cleanup = OrphanCleanup(store, engine)
    task = asyncio.create_task(cleanup.run())
    try:
        store.delete_device(first, actor="test")
        cleanup.request()
        await until(lambda: engine.forgotten == [first], 10)
        engine.known.remove(first)
        cleanup.request()
        await asyncio.sleep(0)
        store.delete_device(second, actor="test")
        cleanup.request()
        await until(lambda: second in engine.forgotten, 10)
    finally:
        task.cancel()
        store.close()


async def test_registry_unreadable_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that can't be read is looked into again, until it can."""
    monkeypatch.setattr(orphan_cleanup, "RETRY_SECONDS", 0.05)
    path = tmp_path / "fleetkey.db"
    store = SqliteStore(path)
    device_id = issue(store, "S1")[1]
    store.delete_device(device_id, actor="test")
    engine = Owners(device_id)
    cleanup = OrphanCleanup(store, engine)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE devices RENAME TO elsewhere")
        cleanup.request()
        task = asyncio.create_task(cleanup.run())
        try:
            await asyncio.sleep(0.2)
            assert engine.forgotten == []
            assert not task.done()
            other.execute("ALTER TABLE elsewhere RENAME TO devices")
            await until(lambda: engine.forgotten == [device_id], 10)
        finally:
            task.cancel()
            store.close()
