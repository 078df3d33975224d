"""The protocols for the change feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.registry.model import Change

__all__ = ["ChangeFeed", "ChangeReader", "ChangeWatch"]


class ChangeWatch(Protocol):
    """A cheap way to learn whether anything was committed since the last call."""

    def has_news(self) -> bool:
        """Return whether any process has committed anything since the last call."""
        ...

    def close(self) -> None:
        """Release the watch's resources."""
        ...


class ChangeReader(Protocol):
    """Reading every change to a device or a key, in order of commit."""

    def changes_after(self, seq: int, *, limit: int = 1000) -> Sequence[Change]:
        """Return up to `limit` changes after position `seq`."""
        ...

    def change_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest and the newest change; (0, 0) if there are none."""
        ...


class ChangeFeed(ChangeReader, Protocol):
    """The feed, and notifications of new changes."""

    def watch(self, *, waits: bool = True) -> ChangeWatch:
        """Start watching for commits. With `waits=False`, it raises `StoreBusyError` instead of waiting."""
        ...

    def on_committed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each commit by this process, in the committing thread; return a way to stop it."""
        ...
