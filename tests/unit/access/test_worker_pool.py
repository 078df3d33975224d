"""The bounded pool of threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import AccessError, OverloadedError, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable


class _Gate:
    """Work that runs until a test opens the gate."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.begun = threading.Semaphore(0)

    def work(self) -> str:
        self.begun.release()
        assert self._open.wait(timeout=10)
        return "done"

    def open(self) -> None:
        self._open.set()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a thread does sets no event of this loop
            await asyncio.sleep(0.005)


async def test_run_off_the_loop() -> None:
    """Work runs in another thread, with its arguments, and its result or error is returned."""
    with closing(WorkerPool(workers=1, max_pending=2)) as pool:
        assert await pool.run(threading.get_ident) != threading.get_ident()
        assert await pool.run(int, "ff", base=16) == 255
        with pytest.raises(ValueError, match="invalid literal"):
            await pool.run(int, "x")
        await _until(lambda: pool.pending == 0)


async def test_run_full() -> None:
    """Over the bound a call fails at once instead of waiting; when another ends there is room again."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=3)) as pool:
        running = [asyncio.create_task(pool.run(gate.work)) for _ in range(3)]
        await _until(lambda: pool.pending == 3)
        for _ in range(5):
            with pytest.raises(OverloadedError):
                await asyncio.wait_for(pool.run(gate.work), timeout=0.5)
        assert pool.pending == 3
        gate.open()
        assert await asyncio.gather(*running) == ["done"] * 3
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_run_cancelled() -> None:
    """A cancelled call counts until its work ends: until then it occupies a thread."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=1)) as pool:
        cancelled = asyncio.create_task(pool.run(gate.work))
        await asyncio.to_thread(gate.begun.acquire)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(OverloadedError):
            await pool.run(gate.work)
        gate.open()
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_run_cancelled_while_waiting() -> None:
    """Calls that are cancelled before their work began stop counting, too."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=10)) as pool:
        tasks = [asyncio.create_task(pool.run(gate.work)) for _ in range(10)]
        await asyncio.to_thread(gate.begun.acquire)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.open()
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_close() -> None:
    """Closing waits for running calls and cancels waiting ones; a later call fails instead of waiting for ever."""
    gate = _Gate()
    pool = WorkerPool(workers=1, max_pending=10)
    tasks = [asyncio.create_task(pool.run(gate.work)) for _ in range(4)]
    await asyncio.to_thread(gate.begun.acquire)
    closed = asyncio.create_task(asyncio.to_thread(pool.close))
    dropped = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert {type(error) for error in dropped} == {asyncio.CancelledError}
    gate.open()
    assert await tasks[0] == "done"
    await closed
    with pytest.raises((AccessError, RuntimeError, asyncio.CancelledError)):
        await asyncio.wait_for(pool.run(int), timeout=1)
