"""How many requests begin before everyone else on the event loop has a turn."""

from __future__ import annotations

import asyncio
from typing import Any

from fleetkey.http.request_turns import MAX_STARTED_PER_TURN, RequestTurns

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


async def test_many_at_once() -> None:
    """However many come at once, a few begin in each turn, in order, and all of them in the end."""
    app = _App()
    turns = RequestTurns(app)
    tasks = [_ask(turns, f"/{number}") for number in range(REQUESTS)]
    steps = []
    while len(app.begun) < REQUESTS:
        before = len(app.begun)
        await asyncio.sleep(0)
        steps.append(len(app.begun) - before)
    assert max(steps) <= MAX_STARTED_PER_TURN
    assert app.begun == [f"/{number}" for number in range(REQUESTS)]
    await asyncio.gather(*tasks)


async def test_health_at_once() -> None:
    """Whoever asks how the server does waits for none of the others."""
    app = _App()
    turns = RequestTurns(app)
    tasks = [_ask(turns, "/register") for _ in range(REQUESTS)]
    health = _ask(turns, "/health/live")
    await asyncio.sleep(0)
    await health
    assert "/health/live" in app.begun[: 2 * MAX_STARTED_PER_TURN + 1]
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
