"""The protocol for presence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import Presence

__all__ = ["PresenceRecords"]


class PresenceRecords(Protocol):
    """Recording presence; it is read with the devices and the application keys."""

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Record the presence of devices, by id, and of application keys; unknown ones are ignored.

        None and empty values leave the previous ones.
        """
        ...

    def end_presence(self, *, reason: str) -> int:
        """Record that nobody is connected any more, as of when each was last seen; return how many were."""
        ...
