"""When refusals are sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Granted, RefusalTiming, Refused
from fleetkey.access.protection import refusal_timing

if TYPE_CHECKING:
    from tests.unit.access.access_rig import World

LONG_SECONDS = 0.3


async def test_wait_for_a_whole_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is never sent before the next whole interval, whenever it was decided, and the earliest goes first."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 0.05)
    timing = RefusalTiming()
    left: list[float] = []

    async def leave(received_at: float, decided_after: float) -> float:
        await asyncio.sleep(decided_after)
        await timing.wait(received_at)
        left.append(received_at)
        return time.monotonic() - received_at

    try:
        received_at = timing.now()
        waited = await asyncio.gather(
            leave(received_at, 0.06), leave(received_at, 0.01), leave(received_at - 0.02, 0.001)
        )
        assert waited[0] >= 0.1
        assert waited[1] >= 0.05
        assert waited[2] >= 0.05
        assert left[0] == received_at - 0.02
    finally:
        timing.close()


async def test_wait_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound nothing waits; closing releases what waits, and nothing waits afterwards."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 60)
    monkeypatch.setattr(refusal_timing, "MAX_WAITING", 1)
    timing = RefusalTiming()
    waiting = asyncio.create_task(timing.wait(timing.now()))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(timing.wait(timing.now()), 5)
    assert not waiting.done()
    timing.close()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(timing.wait(timing.now()), 5)


async def test_wait_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that disconnected doesn't hold up the others."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 0.05)
    timing = RefusalTiming()
    try:
        gone = asyncio.create_task(timing.wait(timing.now()))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait_for(timing.wait(timing.now()), 5)
    finally:
        timing.close()


@pytest.mark.parametrize("claims", [{"username": "0" * 32}, {"password": b"0" * 64}, {"client_id": "other"}])
async def test_refused_login_waits(claims: dict[str, object], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refused CONNECT waits for a whole interval; a good one doesn't wait."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", LONG_SECONDS)
    device = world.device()
    start = time.monotonic()
    assert isinstance(await world.authenticator.authenticate(device.attempt(**claims)), Refused)
    assert time.monotonic() - start >= LONG_SECONDS
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 3600)
    assert isinstance(await asyncio.wait_for(world.authenticator.authenticate(device.attempt()), 60), Granted)
