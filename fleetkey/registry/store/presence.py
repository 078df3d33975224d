"""What others need to record who is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import Presence

__all__ = ["PresenceRecords"]


class PresenceRecords(Protocol):
    """Presence, written by the broker and read with the devices."""

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Record what is known of devices now; None and empty leave what was known, unknown devices are left out."""
        ...

    def end_presence(self, *, reason: str) -> int:
        """Record that nobody is connected any more, as of when each was last seen; return how many were."""
        ...
