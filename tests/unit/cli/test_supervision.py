"""Work in the background that breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleetkey.cli.serve import supervision
from fleetkey.cli.serve.supervision import kept_running
from tests.unit.access.access_rig import until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("fails", [lambda: 1 // 0, lambda: next(iter(()))])
async def test_kept_running(monkeypatch: pytest.MonkeyPatch, fails: Callable[[], object]) -> None:
    """It begins again, however often it breaks, and ends when it is cancelled."""
    monkeypatch.setattr(supervision, "RESTART_SECONDS", 0.01)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 4:
            fails()
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_running("work", work))
    await until(lambda: begun == 4)
    await asyncio.sleep(0.05)
    assert begun == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
