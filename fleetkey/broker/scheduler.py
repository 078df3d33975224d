"""Schedules calls at the end of a turn of the event loop, in the next turn, or later."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fleetkey.broker.packet_turns import PacketTurns
from fleetkey.broker.work import WorkQueue
from fleetkey.turns import FairTurnQueue, NextTurn, RestQueue, TurnQueue

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleetkey.broker.ports import Flushable
    from fleetkey.broker.work import Store

__all__ = ["LINGER_SECONDS", "TICK_SECONDS", "Scheduler"]

LINGER_SECONDS = 2.0
"""How long a closed connection may take to send pending data and to shut down TLS or WebSocket."""
TICK_SECONDS = 0.5
"""Interval between checks of timeouts."""
CONNECTS_PER_TURN = 16
"""CONNECTs handled per turn of the event loop; the others wait, one of each key before the next of any."""
CONNECTS_OF_ONE_KEY = 4
"""The same of one key, so that the refusals of a key at its bounds take only a part of each turn."""
UPGRADES_PER_TURN = 4
"""WebSocket upgrade requests handled per turn; the others wait."""
FEEDS_PER_TURN = 8
"""WebSocket clients whose frames are handled per turn, one of each owner after the other; the others wait, and aren't
read from."""


class Scheduler:
    """The broker's own clock and queue of calls, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store | None = None) -> None:
        self.loop = loop
        self.now = loop.time()
        """The loop's time, at most `TICK_SECONDS` old."""
        self._next_turn = NextTurn(loop)
        self.work = WorkQueue(self._next_turn, store)
        self.connects = FairTurnQueue(CONNECTS_PER_TURN, self._next_turn, most_of_one=CONNECTS_OF_ONE_KEY)
        self.upgrades = TurnQueue(UPGRADES_PER_TURN, loop)
        self.rests = RestQueue(loop)
        self.packets = PacketTurns(self._next_turn)
        self.feeds = FairTurnQueue(FEEDS_PER_TURN, self._next_turn)
        self._unflushed: list[Flushable] = []
        self._lingering: deque[tuple[float, Callable[[], None]]] = deque()
        self._on_tick: list[Callable[[float], None]] = []
        self._ticker: asyncio.TimerHandle | None = None

    def start(self, *on_tick: Callable[[float], None]) -> None:
        """Start ticking: each callback is called every `TICK_SECONDS` with the loop's time."""
        self._on_tick.extend(on_tick)
        self._tick()

    def stop(self) -> None:
        """Stop ticking."""
        if self._ticker is not None:
            self._ticker.cancel()

    def time(self) -> float:
        """Return the loop's time, exactly."""
        return self.loop.time()

    def flush_soon(self, stream: Flushable) -> None:
        """Flush a stream at the end of this turn."""
        if not self._unflushed:
            self._next_turn.call_soon(self._flush)
        self._unflushed.append(stream)

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` after the other connections have had their turn."""
        self.loop.call_soon(callback, *arguments)

    def linger(self, callback: Callable[[], None]) -> None:
        """Call `callback` in `LINGER_SECONDS`."""
        self._lingering.append((self.loop.time() + LINGER_SECONDS, callback))

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for stream in unflushed:
            stream.flush()

    def _tick(self) -> None:
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)
        now = self.now = self.loop.time()
        for callback in self._on_tick:
            callback(now)
        while self._lingering and self._lingering[0][0] <= now:
            self._lingering.popleft()[1]()
