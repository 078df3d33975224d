"""Makes calls a few at a time, so that the event loop can serve others in between."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "REST_SECONDS",
    "TRICKLE_BYTES",
    "CallsSoon",
    "FairTurnQueue",
    "NextTurn",
    "RestQueue",
    "RoundRobin",
    "TurnQueue",
]

Item = TypeVar("Item")

REST_SECONDS = 0.02
"""Minimum pause in reading from a client that has sent only part of its first message."""
TRICKLE_BYTES = 256
"""A shorter read that completes nothing is followed by such a rest."""
RESTED_PER_TURN = 32
"""Clients whose reading resumes per turn of the event loop."""


class CallsSoon(Protocol):
    """What calls back in the next turn of the event loop."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call `callback` in the next turn."""
        ...


class NextTurn:
    """Makes all calls that are due in the next turn of the event loop in one of its callbacks, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """Call `callback` in the next turn."""
        if not self._due:
            self._loop.call_soon(self._run)
        self._due.append(callback)

    def _run(self) -> None:
        due, self._due = self._due, []
        made = 0
        try:
            for callback in due:
                made += 1
                callback()
        finally:
            # Even if one raised unexpectedly: the loop logs it, and the others must not wait forever.
            for callback in due[made:]:
                self.call_soon(callback)


class TurnQueue:
    """Makes calls in order, at most `most` per turn of the event loop.

    Args:
        most: the maximum number of calls per turn.
        loop: the event loop, if not the one running when calls are added.
    """

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._most = most
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._made = 0
        """Calls made in this turn."""

    def do(self, call: Callable[[], None]) -> bool:
        """Make a call now, or when its turn comes; return whether it was made now."""
        if self._made >= self._most or self._waiting:
            self.do_later(call)
            return False
        self._wake()
        self._made += 1
        call()
        return True

    def do_later(self, call: Callable[[], None]) -> None:
        """Make a call when its turn comes, in the next turn of the event loop at the earliest."""
        self._wake()
        self._waiting.append(call)

    def _wake(self) -> None:
        if not self._made and not self._waiting:
            self._call_soon()

    def _call_soon(self) -> None:
        (self._loop or asyncio.get_running_loop()).call_soon(self._next)

    def _next(self) -> None:
        """Start a turn, and schedule another as long as calls are made."""
        self._made = 0
        try:
            # Only calls that are waiting now: calls that these add are made in a later turn.
            for _ in range(min(self._most, len(self._waiting))):
                self._made += 1
                self._waiting.popleft()()
        finally:
            # Even if a call raised unexpectedly: the loop logs it, and the others must not wait forever.
            if self._made:
                self._call_soon()


class RoundRobin(Generic[Item]):
    """A queue in which each owner has its turn: one item of each after the other, an owner's own in order."""

    def __init__(self) -> None:
        self._items: dict[str, deque[Item]] = {}
        """By owner, in the order of their turns."""
        self._count = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return self._count

    @property
    def first(self) -> Item:
        """The next item. There must be one."""
        return next(iter(self._items.values()))[0]

    @property
    def next_owner(self) -> str:
        """Whose item is the next one. There must be one."""
        return next(iter(self._items))

    def append(self, owner: str, item: Item) -> None:
        """Put an item behind the others of its owner."""
        self._items.setdefault(owner, deque()).append(item)
        self._count += 1

    def popleft(self) -> Item:
        """Remove and return the next item; its owner has its next turn after all others."""
        owner = next(iter(self._items))
        items = self._items.pop(owner)
        item = items.popleft()
        if items:
            self._items[owner] = items
        self._count -= 1
        return item

    def size_of(self, owner: str) -> int:
        """Return how many items an owner has."""
        return len(self._items.get(owner, ()))

    def largest(self) -> str:
        """Return the owner with the most items; empty if there are none. It compares all of them."""
        return max(self._items, key=self.size_of, default="")

    def drop_oldest(self, owner: str) -> Item:
        """Remove and return the oldest of an owner's items. It must have one more."""
        self._count -= 1
        return self._items[owner].popleft()


class FairTurnQueue:
    """Makes calls at most `most` per turn of the event loop, one of each source after the other.

    What waits can be given up for others by `make_room`: the oldest call of the source with the most.

    Args:
        most: the maximum number of calls per turn.
        loop: the event loop.
        most_of_one: the same of each source; 0 = no separate bound.
    """

    def __init__(self, most: int, loop: CallsSoon, *, most_of_one: int = 0) -> None:
        self._most = most
        self._most_of_one = most_of_one or most
        self._loop = loop
        self._waiting: RoundRobin[tuple[Callable[[], None], Callable[[], None]]] = RoundRobin()
        """Calls, and how to give them up."""
        self._largest = ""
        """The source with the most when that was last looked up."""
        self._made = 0
        """Calls made in this turn."""
        self._made_of: Counter[str] = Counter()
        """The same of each source."""
        self._is_due = False
        """Whether the next turn of the event loop calls `_next`."""

    def do(self, source: str, call: Callable[[], None], give_up: Callable[[], None]) -> bool:
        """Make a call now, or when its source's turn comes; return whether it was made now.

        Args:
            source: who causes it.
            call: the call.
            give_up: what is called instead if `make_room` gives it up.
        """
        if self.take_turn(source):
            call()
            return True
        self.do_later(source, call, give_up)
        return False

    def take_turn(self, source: str) -> bool:
        """Take one of this turn's calls, for what is done at once; False if it has to wait: use `do_later`."""
        if self._made >= self._most or self._waiting or self._made_of[source] >= self._most_of_one:
            return False
        self._count(source)
        self._wake()
        return True

    def do_later(self, source: str, call: Callable[[], None], give_up: Callable[[], None]) -> None:
        """Make a call when its source's turn comes, in the next turn of the event loop at the earliest."""
        self._waiting.append(source, (call, give_up))
        self._wake()

    def make_room(self) -> bool:
        """Give up the oldest call of the source with the most; False if no source has more than one."""
        if self._waiting.size_of(self._largest) <= 1:
            self._largest = self._waiting.largest()
            if self._waiting.size_of(self._largest) <= 1:
                return False
        _, give_up = self._waiting.drop_oldest(self._largest)
        give_up()
        return True

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Start a turn, and schedule another as long as calls wait."""
        self._made, self._is_due = 0, False
        self._made_of.clear()
        try:
            # Only calls that are waiting now: calls that these add are made in a later turn.
            for _ in range(min(self._most, len(self._waiting))):
                # They take turns, so if this one has had its calls, so have all others.
                if not self._waiting or self._made_of[self._waiting.next_owner] >= self._most_of_one:
                    break
                self._count(self._waiting.next_owner)
                call, _ = self._waiting.popleft()
                call()
        finally:
            # Even if a call raised unexpectedly: the loop logs it, and the others must not wait forever.
            if self._waiting:
                self._wake()

    def _count(self, source: str) -> None:
        self._made += 1
        self._made_of[source] += 1


class RestQueue:
    """Makes calls in `REST_SECONDS` to `2 * REST_SECONDS`, a few per turn, with one timer for all of them.

    A client that sends its first packet byte by byte costs a read for each. Reading from it less often bounds how many
    reads many such clients cause together.

    Args:
        loop: if it isn't the one running when calls are added.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._turns = TurnQueue(RESTED_PER_TURN, loop)
        self._next: list[Callable[[], None]] = []
        self._due: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """Make a call later."""
        if not self._next and not self._due:
            self._start_timer()
        self._next.append(call)

    def _start_timer(self) -> None:
        (self._loop or asyncio.get_running_loop()).call_later(REST_SECONDS, self._tick)

    def _tick(self) -> None:
        due, self._due, self._next = self._due, self._next, []
        for call in due:
            self._turns.do(call)
        if self._due:
            self._start_timer()
