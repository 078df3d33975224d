"""Writing refusals into the audit, without what waits for the registry holding up anything else."""

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
"""Entries of strangers, and as many of others, that wait to be written at once; further ones are in the log alone."""
PATIENCE_SECONDS = 2.0
"""How long a refusal waits for its entry; it is written all the same when the registry can be written again."""
MAX_STRANGER_ENTRIES = 600
"""Entries in a minute that strangers cause all together; beyond it, their refusals are counted in `SUMMARY_SECONDS`."""
SUMMARY_SECONDS = 60.0
"""For which refusals without an entry of their own are counted, before one entry for each reason says how many."""
MAX_COUNTED_ADDRESSES = 10_000
"""Addresses, of which IPv6 has /64s, that are told apart for such an entry; it says `10000+` then."""
MAX_SUMMARIES = 100
"""Reasons that are counted by themselves; they are words of ours, so this is a net."""
EVERYBODY = "strangers"


class RefusalAudit:
    """Records refusals in a thread of its own: a registry that is held by another process stalls no login with it.

    Whatever waits is written in one transaction, and what strangers cause is bounded in number: a flood of them costs
    few commits, and takes the registry from nobody.

    Args:
        record: writes entries, all or none; blocks.
        clock: seconds, for the bound in a minute.
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
        """Writes what waits; None once it has begun. Guarded by the lock, as what waits is."""
        self._writes: set[asyncio.Task[None]] = set()
        self._budget = RateLimiter(limit=MAX_STRANGER_ENTRIES, window_seconds=60, max_tracked=1, clock=clock)
        self._summaries: dict[tuple[str, str, str, bool], _Summary] = {}
        self._summing: asyncio.Task[None] | None = None
        self.bounds: Counter[str] = Counter()
        """Refusals without an entry of their own, by the bound that was reached."""
        self._logged: set[str] = set()

    async def note(self, entry: AuditEntry) -> None:
        """Record a refusal. When that fails, or takes long, the log says so and the refusal stands."""
        if entry.by_stranger and self._budget.admit(EVERYBODY):
            self.count(entry, bound="max_stranger_entries")
            return
        write = self._enqueue(entry)
        if write is None:
            self.count(entry, bound="max_waiting_entries")
            return
        if self._budget.wait_seconds(EVERYBODY):
            # Refusals of strangers aren't waited for now, so those of others aren't either: the time of an answer must
            # not tell which serials are known.
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(write)
        except TimeoutError:
            log.warning("audit_late", action=entry.action, reason=entry.reason)

    def count(self, entry: AuditEntry, *, bound: str) -> None:
        """Count a refusal instead of recording it: within `SUMMARY_SECONDS` an entry says how many there were."""
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
        """Write what waits and what was counted, but don't wait for a registry that somebody else holds for long."""
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
        """Write summaries until there are none: then the flood is over, and the next one is said again."""
        try:
            while self._summaries:
                await asyncio.sleep(SUMMARY_SECONDS)
                await asyncio.shield(self._end_summaries())
        finally:
            self._summing = None
            self._logged.clear()

    def _end_summaries(self) -> asyncio.Task[None]:
        """Let the summaries wait to be written: few entries that stand for many, so on top of the bound."""
        ended, self._summaries = self._summaries, {}
        with self._lock:
            self._waiting += [summary.entry() for summary in ended.values()]
            return self._write_next()

    def _enqueue(self, entry: AuditEntry) -> asyncio.Task[None] | None:
        """Let an entry wait to be written and return what writes it; None if too many of its kind wait."""
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
            log.error("audit_failed", error=str(error))  # noqa: TRY400 - the message is the whole story

    def _write_waiting(self) -> None:
        """Write everything that waits, in one transaction; blocks."""
        with self._lock:
            entries, self._waiting, self._next_write = self._waiting, [], None
        if entries:
            self._record(entries)

    def _reached(self, bound: str) -> None:
        """Count that a refusal gets no entry of its own, and say it once a flood."""
        self.bounds[bound] += 1
        if bound not in self._logged:
            self._logged.add(bound)
            log.warning("audit_bound_reached", bound=bound)


@dataclass(slots=True)
class _Summary:
    """Refusals of one kind that are only counted."""

    first: AuditEntry
    number: int = 0
    addresses: set[str] = field(default_factory=set)
    is_full: bool = False

    def add(self, entry: AuditEntry) -> None:
        """Count one."""
        self.number += 1
        bucket = address_bucket(entry.address or getattr(entry.actor, "address", ""))
        if len(self.addresses) < MAX_COUNTED_ADDRESSES:
            self.addresses.add(bucket)
        elif bucket not in self.addresses:
            self.is_full = True

    def entry(self) -> AuditEntry:
        """Return what the audit says of them."""
        count = f"{len(self.addresses)}{'+' if self.is_full else ''}"
        reason = f"{self.first.reason} further={self.number} addresses={count}"
        actor = str(self.first.actor)
        return replace(self.first, actor=actor, reason=reason, address="", serial=None, device_id=None, key=None)
