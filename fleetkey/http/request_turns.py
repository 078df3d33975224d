"""Starts and ends requests a few at a time, so that a burst doesn't block the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["MAX_ENDED_PER_TURN", "MAX_STARTED_PER_TURN", "RequestTurns"]

MAX_STARTED_PER_TURN = 2
"""Requests started per turn of the event loop; the others wait."""
MAX_ENDED_PER_TURN = 4
"""Requests notified per turn that their client is gone; the others follow in the next turns."""
AT_ONCE = ("/health", "/metrics")
"""Prefixes of paths whose requests start at once: they are cheap, and monitoring needs them."""


class RequestTurns:
    """ASGI middleware that starts each request when its turn comes.

    Each connection has one request at a time, so at most as many wait as there are connections.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._queue = TurnQueue(MAX_STARTED_PER_TURN)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request when its turn comes."""
        if scope["type"] == "http" and not scope["path"].startswith(AT_ONCE):
            turn = asyncio.get_running_loop().create_future()
            self._queue.do(lambda: None if turn.done() else turn.set_result(None))
            await turn
        await self._app(scope, receive, send)
