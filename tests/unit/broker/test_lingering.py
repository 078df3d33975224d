"""Closed connections that still have something to send: for how long, and how much of all together."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fleetkey.broker.bounds import BoundLog
from fleetkey.broker.counters import Counters
from fleetkey.broker.lingering import MAX_LINGERING_BYTES, MAX_LINGERING_OF_DEVICE, Lingering
from fleetkey.broker.scheduler import LINGER_SECONDS


class Closed:
    """A connection that is closed, and notes when it is cut off."""

    address = "192.0.2.1"

    def __init__(self, device_id: str | None = None) -> None:
        self.device_id = device_id
        self.is_cut_off = False
        self.transport: Any = SimpleNamespace(abort=self._cut_off)

    def _cut_off(self) -> None:
        self.is_cut_off = True


class Rig:
    """Closed connections, and what is counted of them."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.lingering = Lingering(BoundLog(self.counters))

    def close(self, size: int = 0, device_id: str | None = None) -> Closed:
        """Close a connection that has so much to send."""
        connection = Closed(device_id)
        self.lingering.add(connection, size)
        return connection


@pytest.fixture
async def rig() -> Rig:
    """Return no connections yet."""
    return Rig()


async def test_expire(rig: Rig) -> None:
    """Who doesn't read is cut off when its time is over; the socket that closed itself isn't."""
    begun = asyncio.get_running_loop().time()
    slow, quick = rig.close(10), rig.close(10)
    rig.lingering.discard(quick)
    rig.lingering.expire(begun)
    assert not slow.is_cut_off
    rig.lingering.expire(begun + 2 * LINGER_SECONDS)
    assert slow.is_cut_off
    assert not quick.is_cut_off
    assert rig.lingering._bytes == 0


async def test_bytes(rig: Rig) -> None:
    """Above the bound those closed first are cut off, until the others fit."""
    first, second, third = (rig.close(MAX_LINGERING_BYTES // 3) for _ in range(3))
    assert not first.is_cut_off
    fourth = rig.close(MAX_LINGERING_BYTES // 2)
    assert first.is_cut_off
    assert second.is_cut_off
    assert not third.is_cut_off
    assert not fourth.is_cut_off
    assert rig.counters.bounds == {"lingering_bytes": 2}


async def test_sockets_of_one_device(rig: Rig) -> None:
    """A device has so many; for another, the one closed first is cut off. Others' don't count, nor what left."""
    others = [rig.close(1, device_id) for device_id in (None, None, None, None, None, "other")]
    mine = [rig.close(1, "device") for _ in range(MAX_LINGERING_OF_DEVICE)]
    rig.lingering.discard(mine[1])
    mine.append(rig.close(1, "device"))
    assert not any(connection.is_cut_off for connection in mine)
    mine.append(rig.close(1, "device"))
    assert [connection.is_cut_off for connection in mine] == [True, *[False] * MAX_LINGERING_OF_DEVICE, False]
    assert not any(connection.is_cut_off for connection in others)
    assert rig.counters.bounds == {"lingering_of_device": 1}
    for connection in mine:
        rig.lingering.discard(connection)
    assert "device" not in rig.lingering._of_device


async def test_bytes_of_one(rig: Rig) -> None:
    """One that has more than all may have is cut off itself."""
    small, large = rig.close(1), rig.close(MAX_LINGERING_BYTES + 1)
    assert small.is_cut_off
    assert large.is_cut_off
    assert rig.lingering._bytes == 0


async def test_discard(rig: Rig) -> None:
    """Each is uncounted once, also if it never was here."""
    kept = rig.close(5)
    gone = rig.close(7)
    for _ in range(2):
        rig.lingering.discard(gone)
        rig.lingering.discard(Closed())
    assert rig.lingering._bytes == 5
    assert not kept.is_cut_off


async def test_settle(rig: Rig) -> None:
    """Stopping waits for those that still send, and no longer than that."""
    await rig.lingering.settle()
    connection = rig.close(1)
    settled = asyncio.ensure_future(rig.lingering.settle())
    await asyncio.sleep(0)
    assert not settled.done()
    rig.lingering.discard(connection)
    await settled
    assert not connection.is_cut_off


async def test_settle_cuts_off(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever doesn't read meanwhile is cut off."""
    monkeypatch.setattr("fleetkey.broker.lingering.LINGER_SECONDS", 0)
    connections = [rig.close(1) for _ in range(3)]
    await rig.lingering.settle()
    assert all(connection.is_cut_off for connection in connections)
