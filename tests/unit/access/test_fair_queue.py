"""The fair queue."""

from __future__ import annotations

import asyncio

from fleetkey.access.protection.fair_queue import FairQueue


async def test_turn_cancelled_as_it_is_granted() -> None:
    """An entry that is cancelled in the very step in which its turn is granted passes the turn on."""
    queue = FairQueue()

    async def wait() -> None:
        async with queue.turn("a"):
            await asyncio.sleep(0)

    for others in range(3):
        holder = queue.turn("a")
        await holder.__aenter__()
        waiting = [asyncio.create_task(wait()) for _ in range(others + 1)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await holder.__aexit__(None, None, None)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None] * others
    async with asyncio.timeout(1):
        await wait()
