"""Ended sessions whose deletion isn't committed yet, so that a crash could bring them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:

    class Committed(Protocol):
        """The parts of the store that are used here."""

        committed: int
        lost: int


__all__ = ["EndingSessions"]

MAX_FORGOTTEN = 10_000
"""Client ids with an uncommitted deletion; beyond that, every new session waits for the oldest of them."""


class EndingSessions:
    """Tracks the position that the store must commit before a client id may have a new session.

    While the disk can't be written, a client may reconnect any number of times. Each new session has to wait for the
    deletion of the previous one (MQTT 3.1.1, 3.1.2-6), which would otherwise reappear after a crash.
    """

    def __init__(self, store: Committed) -> None:
        self._store = store
        # Keyed by hash, since ids may be long; on a collision, one waits for the other.
        self._positions: dict[int, int] = {}
        # The positions of client ids beyond `MAX_FORGOTTEN`, which any other client id might be; 0 = none.
        self._first_other = 0
        self._last_other = 0

    def __len__(self) -> int:
        """Return how many client ids are tracked."""
        return len(self._positions)

    @property
    def has_lost(self) -> bool:
        """Whether the deletion of any session may have been lost."""
        first = self._first_other or next(iter(self._positions.values()), 0)
        return 0 < first <= self._store.lost

    def add(self, client_id: str, position: int) -> None:
        """Record that a client's session ended, with the store's position after noting its deletion."""
        key = hash(client_id)
        self._positions.pop(key, None)
        self._let_go()
        if len(self._positions) >= MAX_FORGOTTEN:
            # Positions only grow, so this one is larger than those of the others so far.
            self._last_other = self._positions.pop(next(iter(self._positions)))
            self._first_other = self._first_other or self._last_other
        self._positions[key] = position

    def position(self, client_id: str) -> int:
        """Return the position that a client's new session must wait for; 0 = none."""
        if not (self._positions or self._last_other):
            return 0
        self._let_go()
        position = max(self._positions.get(hash(client_id), 0), self._last_other)
        return position if position > self._store.committed else 0

    def is_lost(self, client_id: str) -> bool:
        """Whether the deletion of a client's session may have been lost, so that it must be noted again."""
        if not self._store.lost:
            return False
        self._let_go()
        return 0 < self._positions.get(hash(client_id), self._first_other) <= self._store.lost

    def cleaned(self, position: int) -> None:
        """Forget the sessions that ended up to a position: none of them is stored any more."""
        while self._positions and next(iter(self._positions.values())) <= position:
            del self._positions[next(iter(self._positions))]
        if self._last_other <= position:
            self._first_other = self._last_other = 0
        elif self._first_other <= position:
            self._first_other = position + 1

    def _let_go(self) -> None:
        """Forget entries that are committed and not lost; positions only grow, so these come first."""
        store = self._store
        if self._first_other:
            if not store.lost < self._first_other <= self._last_other <= store.committed:
                return
            self._first_other = self._last_other = 0
        while self._positions:
            oldest = next(iter(self._positions))
            if not store.lost < self._positions[oldest] <= store.committed:
                return
            del self._positions[oldest]
