"""What others need from the clock of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.registry.clock import ClockMark

__all__ = ["ClockMarks", "StoreTime"]


class StoreTime(Protocol):
    """The time: one for all that ends."""

    def now(self) -> float:
        """Return the time by which everything in the store ends, in seconds since 1970."""
        ...


class ClockMarks(Protocol):
    """How far a server's clock had come."""

    def save_clock(self, mark: ClockMark) -> None:
        """Store how far a server's clock has come; never audited, and no change of its own."""
        ...

    def clock_mark(self) -> ClockMark | None:
        """Return what was stored last; None if nothing was."""
        ...

    def recorded_at(self) -> float | None:
        """Return when anything was recorded last, in seconds since 1970; None if nothing was."""
        ...
