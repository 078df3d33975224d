"""The protocols for refusal records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.registry.model import RefusalFilter, RefusalIncrement, RefusalPage

__all__ = ["RefusalReader", "RefusalRecords", "RefusalWriter"]


class RefusalWriter(Protocol):
    """Adding to refusal records. They are no change to the fleet, so neither the feed nor the audit has them."""

    def add_refusals(self, increments: Sequence[RefusalIncrement]) -> None:
        """Add refusals to the records of their clients, in the given order, all or none.

        There is one record per client, stage and reason: counts are added up, so that several servers can add to one.
        The oldest records are deleted beyond a bound per device or application, one for all that are known, and one
        for all strangers, who displace only each other.
        """
        ...


class RefusalReader(Protocol):
    """Reading refusal records."""

    def find_refusals(self, wanted: RefusalFilter, *, before: int | None = None, limit: int = 100) -> RefusalPage:
        """Return up to `limit` matching records before a position, or the newest; newest first."""
        ...


class RefusalRecords(RefusalWriter, RefusalReader, Protocol):
    """All refusal records. Those of a device are deleted with it."""

    def drop_old_refusals(self, *, days: int) -> int:
        """Delete some records without a refusal for this many days; return how many. Repeat until it returns 0."""
        ...
