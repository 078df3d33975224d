"""What others need from the change feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.registry.model import Change

__all__ = ["ChangeFeed", "ChangeReader", "ChangeWatch"]


class ChangeWatch(Protocol):
    """A cheap question: was anything committed since the last time?"""

    def has_news(self) -> bool:
        """Whether anything was committed since the last call, by any process."""
        ...

    def close(self) -> None:
        """Let go of what the watch holds."""
        ...


class ChangeReader(Protocol):
    """Every change to a device or a key, in order of commit."""

    def changes_after(self, seq: int, *, limit: int = 1000) -> Sequence[Change]:
        """Return up to `limit` changes after position `seq`."""
        ...

    def change_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest change; (0, 0) when there is none."""
        ...


class ChangeFeed(ChangeReader, Protocol):
    """The feed, and ways to learn that it has grown."""

    def watch(self, *, waits: bool = True) -> ChangeWatch:
        """Begin to watch for commits; one that doesn't wait raises `StoreBusyError` where another would."""
        ...

    def on_committed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, in the committing thread, after each commit of this process; returns how to stop that."""
        ...
