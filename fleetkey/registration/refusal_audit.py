"""Recording refusals in the audit log, so that waiting for the registry delays nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import OverloadedError, RateLimiter, WorkerPool, address_bucket
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.registry import AuditEntry

__all__ = ["RefusalAudit"]

log = structlog.get_logger(__name__)

MAX_WAITING_ENTRIES = 200
"""How many entries of strangers, and how many of others, may wait to be written; further ones are only logged."""
PATIENCE_SECONDS = 2.0
"""How long a refusal waits for its entry. The entry is still written later, once the registry is available."""
MAX_STRANGER_ENTRIES = 600
"""How many entries strangers may cause per minute in all; further refusals are counted for `SUMMARY_SECONDS`."""
SUMMARY_SECONDS = 60.0
"""How long refusals without their own entry are counted, before one entry for each reason records their number."""
MAX_COUNTED_ADDRESSES = 10_000
"""How many addresses (for IPv6: /64 networks) are told apart for such an entry; beyond that it says `10000+`."""
MAX_SUMMARIES = 100
"""How many reasons are counted separately. Reasons are our own words, so this is only a safety net."""
EVERYBODY = "strangers"


class RefusalAudit:
    """Records refusals in its own thread, so that a registry locked by another process stalls no login.

    All waiting entries are written in one transaction, and the number that strangers cause is bounded: a flood of
    refusals causes few commits and doesn't block other users of the registry.

    Args:
        record: writes entries, all or none; blocks.
        clock: seconds, for the bound per minute.
    """

    def __init__(
        self, record: Callable[[Sequence[AuditEntry]], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record = record
        self._pool = WorkerPool(workers=1, max_pending=MAX_WAITING_ENTRIES)
        self._is_closed = False
        self._lock = threading.Lock()
        self._waiting: list[AuditEntry] = []
        self._next_write: asyncio.Task[None] | None = None
        """The scheduled write of the waiting entries; None once it has begun. Guarded by the lock, like the entries."""
        self._writes: set[asyncio.Task[None]] = set()
        self._budget = RateLimiter(limit=MAX_STRANGER_ENTRIES, window_seconds=60, max_tracked=1, clock=clock)
        self._summaries: dict[tuple[str, str, str, bool], _Summary] = {}
        self._summing: asyncio.Task[None] | None = None
        self.bounds: Counter[str] = Counter()
        """Refusals without their own entry, by the bound that was reached."""
        self._logged: set[str] = set()

    async def note(self, entry: AuditEntry) -> None:
        """Record a refusal. If that fails or takes too long, it is logged, and the refusal stands."""
        if entry.by_stranger and self._budget.admit(EVERYBODY):
            self.count(entry, bound="max_stranger_entries")
            return
        write = self._enqueue(entry)
        if write is None:
            self.count(entry, bound="max_waiting_entries")
            return
        if self._budget.wait_seconds(EVERYBODY):
            # Refusals of strangers aren't waited for at this point, so neither are others: response times must not
            # reveal which serials are known.
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(write)
        except TimeoutError:
            log.warning("audit_late", action=entry.action, reason=entry.reason)

    def count(self, entry: AuditEntry, *, bound: str) -> None:
        """Count a refusal instead of recording it; within `SUMMARY_SECONDS` a summary entry records the number."""
        self._reached(bound)
        key = str(entry.actor), entry.action, entry.reason, entry.by_stranger
        summary = self._summaries.get(key)
        if summary is None:
            if len(self._summaries) >= MAX_SUMMARIES:
                return
            summary = self._summaries[key] = _Summary(entry)
        summary.add(entry)
        if self._summing is None:
            self._summing = asyncio.create_task(self._sum_up(), name="fleetkey-refusals")

    async def close(self) -> None:
        """Write the waiting entries and summaries, but don't wait long for a locked registry."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._summing is not None:
            self._summing.cancel()
            await asyncio.gather(self._summing, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(self._end_summaries())
        await asyncio.to_thread(self._pool.close)

    async def _sum_up(self) -> None:
        """Write summaries until there are none. Then the flood is over, and the next one will be logged again."""
        try:
            while self._summaries:
                await asyncio.sleep(SUMMARY_SECONDS)
                await asyncio.shield(self._end_summaries())
        finally:
            self._summing = None
            self._logged.clear()

    def _end_summaries(self) -> asyncio.Task[None]:
        """Queue the summaries for writing, regardless of the bound: they are few and stand for many refusals."""
        ended, self._summaries = self._summaries, {}
        with self._lock:
            self._waiting += [summary.entry() for summary in ended.values()]
            return self._write_next()

    def _enqueue(self, entry: AuditEntry) -> asyncio.Task[None] | None:
        """Queue an entry and return the task that will write it; None if too many of its kind are waiting."""
        with self._lock:
            if sum(one.by_stranger is entry.by_stranger for one in self._waiting) >= MAX_WAITING_ENTRIES:
                return None
            self._waiting.append(entry)
            return self._write_next()

    def _write_next(self) -> asyncio.Task[None]:
        if self._next_write is None:
            self._next_write = asyncio.create_task(self._write(), name="fleetkey-refusals-write")
            self._writes.add(self._next_write)
            self._next_write.add_done_callback(self._writes.discard)
        return self._next_write

    async def _write(self) -> None:
        try:
            await self._pool.run(self._write_waiting)
        except (OverloadedError, StoreError) as error:
            log.error("audit_failed", error=str(error))  # noqa: TRY400 - the message says it all

    def _write_waiting(self) -> None:
        """Write all waiting entries in one transaction; blocks."""
        with self._lock:
            entries, self._waiting, self._next_write = self._waiting, [], None
        if entries:
            self._record(entries)

    def _reached(self, bound: str) -> None:
        """Count a refusal without its own entry, and log that once per flood."""
        self.bounds[bound] += 1
        if bound not in self._logged:
            self._logged.add(bound)
            log.warning("audit_bound_reached", bound=bound)


@dataclass(slots=True)
class _Summary:
    """The number of refusals of one kind."""

    first: AuditEntry
    number: int = 0
    addresses: set[str] = field(default_factory=set)
    is_full: bool = False

    def add(self, entry: AuditEntry) -> None:
        """Count a refusal."""
        self.number += 1
        bucket = address_bucket(entry.address or getattr(entry.actor, "address", ""))
        if len(self.addresses) < MAX_COUNTED_ADDRESSES:
            self.addresses.add(bucket)
        elif bucket not in self.addresses:
            self.is_full = True

    def entry(self) -> AuditEntry:
        """Return the audit entry that stands for them."""
        count = f"{len(self.addresses)}{'+' if self.is_full else ''}"
        reason = f"{self.first.reason} further={self.number} addresses={count}"
        actor = str(self.first.actor)
        return replace(self.first, actor=actor, reason=reason, address="", serial=None, device_id=None, key=None)
