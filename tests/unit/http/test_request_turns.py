"""How many requests begin before everyone else on the event loop has a turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fleetkey.http.request_turns import (
    MAX_HEALTH_PER_TURN,
    MAX_METRICS_PER_TURN,
    MAX_STARTED_PER_TURN,
    RequestTurns,
)

REQUESTS = 50


class _App:
    """Notes which requests begin."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Begin, and end at once."""
        del receive, send
        self.begun.append(scope["path"])


def _ask(turns: RequestTurns, path: str) -> asyncio.Task[None]:
    async def request() -> None:
        await turns({"type": "http", "path": path}, None, None)

    return asyncio.create_task(request())


@pytest.mark.parametrize(
    ("path", "most"),
    [
        pytest.param("/register/{}", MAX_STARTED_PER_TURN, id="others"),
        pytest.param("/health/live?{}", MAX_HEALTH_PER_TURN, id="health"),
        pytest.param("/metrics?{}", MAX_METRICS_PER_TURN, id="metrics"),
    ],
)
async def test_many_at_once(path: str, most: int) -> None:
    """However many come at once, a few begin in each turn, in order, and all of them in the end."""
    app = _App()
    turns = RequestTurns(app)
    paths = [path.format(number) for number in range(REQUESTS)]
    tasks = [_ask(turns, path) for path in paths]
    steps = []
    while len(app.begun) < REQUESTS:
        before = len(app.begun)
        await asyncio.sleep(0)
        steps.append(len(app.begun) - before)
    assert max(steps) <= most
    assert app.begun == paths
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("path", ["/health/live", "/metrics"])
async def test_monitoring_beside_others(path: str) -> None:
    """Health and metrics wait neither for other requests nor for each other."""
    app = _App()
    turns = RequestTurns(app)
    flood = [other for other in ("/register", "/health/ready", "/metrics") if other[:4] != path[:4]]
    tasks = [_ask(turns, other) for other in flood for _ in range(REQUESTS)]
    await _ask(turns, path)
    assert path in app.begun[: 3 * (MAX_STARTED_PER_TURN + MAX_HEALTH_PER_TURN)]
    await asyncio.gather(*tasks)


async def test_cut_off_while_it_waits() -> None:
    """A request that is cut off leaves its turn to the next, and nobody is forgotten."""
    app = _App()
    turns = RequestTurns(app)
    tasks = [_ask(turns, f"/{number}") for number in range(REQUESTS)]
    await asyncio.sleep(0)
    for task in tasks[10:40]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert app.begun == [f"/{number}" for number in (*range(10), *range(40, REQUESTS))]
    later = _ask(turns, "/later")
    await later
    assert app.begun[-1] == "/later"
