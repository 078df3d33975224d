"""Making calls a few at a time, so that others have a turn of the event loop in between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TurnQueue"]


class TurnQueue:
    """Makes calls in order, so many in one turn of the event loop.

    Args:
        most: that many.
        loop: if not the one that runs when calls are made.
    """

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._most = most
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._made = 0
        """Calls that were made in this turn."""

    def do(self, call: Callable[[], None]) -> bool:
        """Make a call now, or when its turn comes; return whether it is made."""
        if self._made >= self._most or self._waiting:
            self.do_later(call)
            return False
        self._wake()
        self._made += 1
        call()
        return True

    def do_later(self, call: Callable[[], None]) -> None:
        """Make a call when its turn comes, which is not before the next one of the event loop."""
        self._wake()
        self._waiting.append(call)

    def _wake(self) -> None:
        if not self._made and not self._waiting:
            self._call_soon()

    def _call_soon(self) -> None:
        (self._loop or asyncio.get_running_loop()).call_soon(self._next)

    def _next(self) -> None:
        """Begin a turn, and come back as long as there is anything to do."""
        self._made = 0
        try:
            # Only those that wait now: one that a call asks for is made in a later turn.
            for _ in range(min(self._most, len(self._waiting))):
                self._made += 1
                self._waiting.popleft()()
        finally:
            # Also when a call failed by mistake: the loop logs it, and the others must not wait for ever.
            if self._made:
                self._call_soon()
