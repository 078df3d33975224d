"""Starts and ends requests a few at a time, so that a burst doesn't block the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["MAX_ENDED_PER_TURN", "MAX_HEALTH_PER_TURN", "MAX_METRICS_PER_TURN", "MAX_STARTED_PER_TURN", "RequestTurns"]

MAX_STARTED_PER_TURN = 2
"""Requests started per turn of the event loop, besides health and metrics; the others wait."""
MAX_HEALTH_PER_TURN = 4
"""Requests to `/health…` started per turn. They don't wait for other requests, because monitoring needs them."""
MAX_METRICS_PER_TURN = 1
"""Requests to `/metrics` started per turn. They don't wait for others either, but each takes milliseconds."""
MAX_ENDED_PER_TURN = 4
"""Requests notified per turn that their client is gone; the others follow in the next turns."""


class RequestTurns:
    """ASGI middleware that starts each request when its turn comes.

    Each connection has one request at a time, so at most as many wait as there are connections.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._health = TurnQueue(MAX_HEALTH_PER_TURN)
        self._metrics = TurnQueue(MAX_METRICS_PER_TURN)
        self._others = TurnQueue(MAX_STARTED_PER_TURN)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request when its turn comes."""
        if scope["type"] == "http":
            turn = asyncio.get_running_loop().create_future()
            self._queue(scope["path"]).do(lambda: None if turn.done() else turn.set_result(None))
            await turn
        await self._app(scope, receive, send)

    def _queue(self, path: str) -> TurnQueue:
        if path.startswith("/health"):
            return self._health
        return self._metrics if path.startswith("/metrics") else self._others
