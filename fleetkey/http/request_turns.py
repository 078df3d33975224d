"""Starting and ending requests a few at a time, so that a burst doesn't hold up the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["MAX_ENDED_PER_TURN", "MAX_STARTED_PER_TURN", "RequestTurns"]

MAX_STARTED_PER_TURN = 2
"""Requests that start in one turn of the event loop; the others wait."""
MAX_ENDED_PER_TURN = 4
"""Requests that are told in one turn that their client is gone; the others are told in the next ones."""
AT_ONCE = ("/health", "/metrics")
"""What starts at once: it costs little, and says how the server is."""


class RequestTurns:
    """ASGI middleware.

    One request of a connection is answered at a time, so no more wait than there are connections.
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
