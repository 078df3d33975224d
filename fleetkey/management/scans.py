"""The bound on the work for one page of a filtered list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from fleetkey.management.pages import Batch

if TYPE_CHECKING:
    from fleetkey.registry import Scan

__all__ = ["MAX_SCAN_SECONDS", "Scans"]

MAX_SCANNED = 2000
"""How many devices or serials are examined for one page, which may therefore be short."""
SCANNED_AT_ONCE = 500
"""How many are examined in one query: SQLite finds all of them, even if the first ones are enough."""
MAX_SCAN_SECONDS = 0.25
"""How long serials are matched against a pattern for one page or count, which may therefore be short."""

T = TypeVar("T")


class Query(Protocol[T]):
    """A query that examines a bounded number of rows."""

    def __call__(self, *, after: str, limit: int, max_scanned: int, max_seconds: float) -> Scan[T]:
        """Examine up to `max_scanned` rows after a position, and return up to `limit` that match."""
        ...


class Scans:
    """The scans for one page, whose work is bounded over all its batches."""

    def __init__(self) -> None:
        self._left = MAX_SCANNED
        self._deadline = time.monotonic() + MAX_SCAN_SECONDS

    def read(self, query: Query[T], after: str, count: int) -> Batch[T, str]:
        """Return up to `count` items that match after a position; fewer if none are left, or if no work is left."""
        found: list[T] = []
        reached: str | None = after
        while reached is not None and len(found) < count and self._may_scan():
            scan = query(
                after=reached,
                limit=count - len(found),
                max_scanned=min(self._left, SCANNED_AT_ONCE),
                max_seconds=self._deadline - time.monotonic(),
            )
            found += scan.items
            reached = scan.reached
            self._left -= scan.scanned
        return Batch(items=found, reached=reached)

    def _may_scan(self) -> bool:
        # The first scan always may, so that a search gets on however slow the machine is.
        is_first = self._left == MAX_SCANNED
        return is_first or (self._left > 0 and time.monotonic() < self._deadline)
