"""Noting how far the server's clock has come."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from fleetkey.cli.serve import clock_keeper
from fleetkey.cli.serve.clock_keeper import ClockKeeper
from fleetkey.registry import SqliteStore, SteadyClock
from tests.unit.access.access_rig import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noted at once, and again and again."""
    monkeypatch.setattr(clock_keeper, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(clock_keeper, "LOOK_SECONDS", 0.01)
    with closing(SqliteStore(tmp_path / "fleetkey.db")) as store:
        task = asyncio.create_task(ClockKeeper(store, SteadyClock()).run())
        await until(lambda: store.clock_mark() is not None, 10)
        first = store.clock_mark()
        await until(lambda: store.clock_mark() != first, 10)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the clock followed the system's is noted without waiting for the next time: commands go by it."""
    monkeypatch.setattr(clock_keeper, "LOOK_SECONDS", 0.01)
    with closing(SqliteStore(tmp_path / "fleetkey.db")) as store:
        clock = SteadyClock()
        task = asyncio.create_task(ClockKeeper(store, clock).run())
        await until(lambda: store.clock_mark() is not None, 10)
        first = store.clock_mark()
        clock.follows += 1
        await until(lambda: store.clock_mark() != first, 10)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_save_failing(tmp_path: Path) -> None:
    """A registry that can't be written is said once, and ends nothing."""
    store = SqliteStore(tmp_path / "fleetkey.db")
    store.close()
    keeper = ClockKeeper(store, SteadyClock())
    with capture_logs() as lines:
        await keeper.save()
        await keeper.save()
    assert [line["event"] for line in lines] == ["clock_not_noted"]
