"""Sessions that ended and that the store may still have: until it has forgotten one, it could come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:

    class Committed(Protocol):
        """A store, as far as this is concerned."""

        committed: int
        lost: int


__all__ = ["EndingSessions"]

MAX_FORGOTTEN = 10_000
"""Client ids whose sessions the store is still to forget; beyond it, every new session waits for the oldest of them."""


class EndingSessions:
    """Remembers up to which position the store has to commit before a client id may have a new session.

    While the disk takes nothing, a client may come again and again: each time, its new session has to wait for the end
    of the older one (MQTT 3.1.1, 3.1.2-6), or after a crash that one would be there again.
    """

    def __init__(self, store: Committed) -> None:
        self._store = store
        # By hash, since ids may be long; two that have the same wait for each other.
        self._positions: dict[int, int] = {}
        self._others = 0
        """What all client ids that aren't remembered wait for."""

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._positions)

    def add(self, client_id: str, position: int) -> None:
        """Note that a client's session ended, which is noted in the store up to a position."""
        key = hash(client_id)
        self._positions.pop(key, None)
        self._let_go()
        if len(self._positions) >= MAX_FORGOTTEN:
            oldest = next(iter(self._positions))
            self._others = max(self._others, self._positions.pop(oldest))
        self._positions[key] = position

    def position(self, client_id: str) -> int:
        """Return the position that a client's new session has to wait for; 0 = there is nothing to wait for."""
        self._let_go()
        position = max(self._positions.get(hash(client_id), 0), self._others)
        return position if position > self._store.committed else 0

    def is_lost(self, client_id: str) -> bool:
        """Whether the note of a client's end may be lost, so that it has to be noted again."""
        return 0 < self._positions.get(hash(client_id), self._others) <= self._store.lost

    def _let_go(self) -> None:
        """Forget what is committed and not lost; positions only grow, so those come first."""
        while self._positions:
            oldest = next(iter(self._positions))
            if not self._store.lost < self._positions[oldest] <= self._store.committed:
                return
            del self._positions[oldest]
