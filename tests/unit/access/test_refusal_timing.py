"""When refusals leave."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Granted, RefusalTiming, Refused
from fleetkey.access.protection import refusal_timing

if TYPE_CHECKING:
    from tests.unit.access.access_rig import World

LONG_BEAT = 0.3


async def test_leaves_with_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never before the beat that follows, whenever in between it was decided; one after the other in order."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 0.05)
    beats = RefusalTiming()
    left: list[float] = []

    async def leave(came_at: float, decided_after: float) -> float:
        await asyncio.sleep(decided_after)
        await beats.wait(came_at)
        left.append(came_at)
        return time.monotonic() - came_at

    try:
        came_at = beats.now()
        waited = await asyncio.gather(leave(came_at, 0.06), leave(came_at, 0.01), leave(came_at - 0.02, 0.001))
        assert waited[0] >= 0.1
        assert waited[1] >= 0.05
        assert waited[2] >= 0.05
        assert left[0] == came_at - 0.02
    finally:
        beats.close()


async def test_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound nobody waits; what waits leaves when it is closed, and nothing waits after."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 60)
    monkeypatch.setattr(refusal_timing, "MAX_WAITING", 1)
    beats = RefusalTiming()
    waiting = asyncio.create_task(beats.wait(beats.now()))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(beats.wait(beats.now()), 5)
    assert not waiting.done()
    beats.close()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(beats.wait(beats.now()), 5)


async def test_caller_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that went away keeps nobody else waiting."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 0.05)
    beats = RefusalTiming()
    try:
        gone = asyncio.create_task(beats.wait(beats.now()))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait_for(beats.wait(beats.now()), 5)
    finally:
        beats.close()


@pytest.mark.parametrize("claims", [{"username": "0" * 32}, {"password": b"0" * 64}, {"client_id": "other"}])
async def test_refused_login_waits(claims: dict[str, object], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refused CONNECT leaves with a beat; a good one waits for nothing."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", LONG_BEAT)
    device = world.device()
    start = time.monotonic()
    assert isinstance(await world.authenticator.authenticate(device.attempt(**claims)), Refused)
    assert time.monotonic() - start >= LONG_BEAT
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 3600)
    assert isinstance(await asyncio.wait_for(world.authenticator.authenticate(device.attempt()), 60), Granted)
