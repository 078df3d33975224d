"""The protocols for a store's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.registry.clock import ClockMark

__all__ = ["ClockMarks", "StoreTime"]


class StoreTime(Protocol):
    """The store's time, by which everything expires."""

    def now(self) -> float:
        """Return the time by which everything in the store expires, in seconds since 1970."""
        ...


class ClockMarks(Protocol):
    """The stored state of a server's clock."""

    def save_clock(self, mark: ClockMark) -> None:
        """Store the state of a server's clock; neither audited nor in the change feed."""
        ...

    def clock_mark(self) -> ClockMark | None:
        """Return the last stored state; None if there is none."""
        ...

    def recorded_at(self) -> float | None:
        """Return when anything was last recorded, in seconds since 1970; None if nothing was."""
        ...
