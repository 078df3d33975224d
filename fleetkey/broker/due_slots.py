"""What is due at different times, found without looking at what isn't due yet."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["DueSlots"]

SPARE_SLOTS = 64
"""Slots that are empty by now and still in the heap, beyond as many as there are others."""

K = TypeVar("K", bound="Hashable")


class DueSlots(Generic[K]):
    """Items by the second in which they are due; an item is in it at most once."""

    def __init__(self) -> None:
        self._slot_of: dict[K, int] = {}
        self._slots: dict[int, dict[K, None]] = {}
        self._order: list[int] = []
        """A heap of the slots; some may be empty by now, or in it twice."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._slot_of)

    def add(self, item: K, due: float) -> None:
        """Add an item, which is due at a time instead of any added earlier; it is found up to a second later."""
        self.discard(item)
        slot = math.ceil(due)
        self._slot_of[item] = slot
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = {}
            heappush(self._order, slot)
        items[item] = None

    def discard(self, item: K) -> None:
        """Remove an item; does nothing if it isn't there."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            del items[item]
            if not items:
                del self._slots[slot]
                if len(self._order) > 2 * len(self._slots) + SPARE_SLOTS:
                    self._order = sorted(self._slots)

    def over(self, now: float, *, most: int) -> list[K]:
        """Return at most `most` items that are due, those due first at the beginning; they stay until discarded."""
        return list(islice(self._due(now), most))

    def _due(self, now: float) -> Iterator[K]:
        passed: list[int] = []
        while self._order and self._order[0] <= now:
            slot = heappop(self._order)
            if slot in self._slots and slot not in passed:
                passed.append(slot)
        # They are there the next time as well. They are few: whoever asks takes out what is due.
        for slot in passed:
            heappush(self._order, slot)
        for slot in passed:
            yield from list(self._slots[slot])
