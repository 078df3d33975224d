"""Calls to be made at given times, with one timer for all of them."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

__all__ = ["SLOT_SECONDS", "TimedQueue"]

SLOT_SECONDS = 0.02
"""A call is made up to twice this much later than it is due, together with others of about that time."""
CALLS_PER_TURN = 32
"""Calls made per turn of the event loop."""

K = TypeVar("K", bound="Hashable")


class TimedQueue(Generic[K]):
    """Calls back for each item when it is due, a few per turn; an item is in it at most once.

    The timer runs only while there is an item, so a queue costs nothing as long as it is empty.

    Args:
        callback: called with each item that is due, unless it was discarded meanwhile.
        loop: the event loop.
    """

    def __init__(self, callback: Callable[[K], None], loop: asyncio.AbstractEventLoop) -> None:
        self._callback = callback
        self._loop = loop
        self._turns = TurnQueue(CALLS_PER_TURN, loop)
        self._slot_of: dict[K, int] = {}
        self._slots: dict[int, dict[K, None]] = {}
        self._next_slot = 0
        """The first one whose calls haven't been made."""
        self._is_ticking = False

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._slot_of)

    def add(self, item: K, due: float) -> None:
        """Call back for an item at a time of the event loop, instead of any time added earlier."""
        self.discard(item)
        if not self._is_ticking:
            self._is_ticking = True
            self._next_slot = _slot(self._loop.time())
            self._loop.call_later(SLOT_SECONDS, self._tick)
        slot = max(_slot(due), self._next_slot)
        self._slot_of[item] = slot
        self._slots.setdefault(slot, {})[item] = None

    def discard(self, item: K) -> None:
        """Don't call back for an item; does nothing if it doesn't wait."""
        slot = self._slot_of.pop(item, None)
        if slot is not None and (items := self._slots.get(slot)) is not None:
            items.pop(item, None)
            if not items:
                del self._slots[slot]

    def _tick(self) -> None:
        now = math.floor(self._loop.time() / SLOT_SECONDS)
        while self._next_slot <= now:
            slot = self._next_slot
            self._next_slot += 1
            for item in self._slots.pop(slot, ()):
                self._turns.do(partial(self._call, item, slot))
        self._is_ticking = bool(self._slot_of)
        if self._is_ticking:
            self._loop.call_later(SLOT_SECONDS, self._tick)

    def _call(self, item: K, slot: int) -> None:
        # It may have been discarded or added again while it waited for its turn.
        if self._slot_of.get(item) == slot:
            del self._slot_of[item]
            self._callback(item)


def _slot(due: float) -> int:
    return math.ceil(due / SLOT_SECONDS)
