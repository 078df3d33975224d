"""Records refusals: counts those of one client in memory, and adds them to the registry in batches."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from sys import getsizeof
from typing import TYPE_CHECKING

import structlog

from fleetkey.access.protection.rate_limits import address_bucket
from fleetkey.registry import RefusalIncrement, StoreError, redacted, shown_claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.registry import RefusalListener, RefusalReason, RefusalStage

__all__ = ["RefusalRecorder"]

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
"""How long refusals are counted in memory before they are added to the registry."""
BATCH = 200
"""How many counts are added in one transaction. Preparing it keeps the interpreter busy, so that others wait."""
READ_CLAIM = 1_024
"""How much of a claim is looked at for secrets; as much as that shrinks to is more than a record has."""
MAX_CLAIM_TEXT = 256
"""Characters of a claim that are kept in memory; a record has fewer."""
COUNT_BYTES = 700
"""Memory of one count, without its texts."""
MAX_KNOWN = 20_000
"""Counts about known devices and keys that may wait; further ones have no record."""
MAX_KNOWN_BYTES = 16 * 1024 * 1024
"""Memory of those counts."""
MAX_STRANGERS = 5_000
"""Counts about everyone else that may wait; further strangers are counted together, by stage and reason."""
MAX_STRANGERS_BYTES = 4 * 1024 * 1024
"""Memory of those counts."""
MAX_OF_ADDRESS = 500
"""How many of those may come from one address (IPv6: one /64); further ones are counted together, by that address."""


class RefusalRecorder:
    """Counts every refusal at once, and records it within `FLUSH_SECONDS`; each costs the same, however many there are.

    Whoever isn't known yet may be invented, so those counts have bounds of their own. To whom they belong is looked up
    only when they are written, in a thread, so that nobody can tell from the time that a refusal takes. While the
    registry can't be written, counts wait. Belongs to one event loop.

    Args:
        add: adds increments to the registry, all or none; blocks. None: refusals are only counted.
        now: seconds since 1970.
        flush_seconds: how long refusals wait.
    """

    def __init__(
        self,
        add: Callable[[Sequence[RefusalIncrement]], None] | None = None,
        *,
        now: Callable[[], float] = time.time,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._add = add
        self._now = now
        self._flush_seconds = flush_seconds
        self.counts: Counter[tuple[RefusalStage, RefusalReason]] = Counter()
        """All refusals since the start."""
        self.bounds: Counter[str] = Counter()
        """Refusals without a count of their own, by the bound that was reached."""
        self._known = _Counts(MAX_KNOWN, MAX_KNOWN_BYTES)
        self._strangers = _Counts(MAX_STRANGERS, MAX_STRANGERS_BYTES)
        self._of_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False
        self._is_failing = False

    def note(
        self,
        stage: RefusalStage,
        reason: RefusalReason,
        listener: RefusalListener,
        address: str,
        *,
        serial: str | None = None,
        key: str | None = None,
        client_id: str | None = None,
        topic: str | None = None,
        detail: str = "",
        device_id: str | None = None,
        is_known: bool = False,
        is_proven: bool = False,
    ) -> None:
        """Record a refusal.

        Args:
            stage: what the client tried.
            reason: why it was refused.
            listener: where.
            address: from where.
            serial: the claimed serial.
            key: the user name, if it looks like a key; otherwise it may be a secret in the wrong place.
            client_id: the claimed client id.
            topic: the topic or filter.
            detail: more, in our own words.
            device_id: the device that the client proved to be, or whose key it named.
            is_known: whether that device, or the key or serial, is known to exist.
            is_proven: whether the client proved its key or serial.
        """
        self.counts[stage, reason] += 1
        if self._add is None:
            return
        # A known serial may well have 64 hex digits; what strangers send as theirs may be a secret in the wrong place.
        shown_serial = _cut(serial) if is_known or is_proven else _redacted(serial)
        claims = shown_serial, _cut(key), _redacted(client_id), _redacted(topic)
        if is_known or is_proven:
            claimant = device_id or claims[1] or claims[0] or ""
        else:
            claimant = _claimant(claims) or f"address:{address_bucket(address)}"
        count = _Count(claimant, stage, reason, int(self._now() * 1000))
        count.last(listener, address, claims, detail, device_id, is_proven=is_proven)
        self._keep(count, is_known=is_known or is_proven)
        self._start()

    async def close(self) -> None:
        """Record what waits, and stop."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._flush()

    def _keep(self, count: _Count, *, is_known: bool) -> None:
        """Keep a count, or add it to the one of the same client, stage and reason."""
        if is_known:
            if not self._known.keep(count):
                self._reached("max_known")
            return
        if self._strangers.merge(count):
            return
        bucket = address_bucket(count.address)
        if self._of_address[bucket] >= MAX_OF_ADDRESS:
            self._reached("max_of_address")
            count.forget(f"address:{bucket}")
        if self._strangers.keep(count):
            self._of_address[bucket] += 1
            return
        self._reached("max_strangers")
        count.forget("")
        count.address = ""
        self._strangers.keep(count, is_last_resort=True)

    def _reached(self, bound: str) -> None:
        self.bounds[bound] += 1

    def _start(self) -> None:
        if self._timer is None and self._writing is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(self._flush_seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write(), name="fleetkey-refusal-records")

    async def _write(self) -> None:
        try:
            await self._flush()
        except Exception:
            # A failure in this must not be the last refusal that is recorded.
            log.exception("refusals_not_recorded")
        finally:
            self._writing = None
            if self._known.counts or self._strangers.counts:
                self._start()

    async def _flush(self) -> None:
        known, strangers = self._known.take(), self._strangers.take()
        self._of_address.clear()
        waiting = [(count, True) for count in known] + [(count, False) for count in strangers]
        while waiting and self._add is not None:
            batch = waiting[:BATCH]
            try:
                await asyncio.to_thread(self._write_batch, [count for count, _ in batch])
            except StoreError as error:
                if not self._is_failing:
                    log.error("refusals_not_recorded", error=str(error))  # noqa: TRY400 - the message says it all
                self._is_failing = True
                for count, is_known in waiting:
                    self._keep(count, is_known=is_known)
                return
            self._is_failing = False
            del waiting[:BATCH]

    def _write_batch(self, batch: Sequence[_Count]) -> None:
        if self._add is not None:
            self._add([count.increment() for count in batch])


class _Counts:
    """Counts by client, stage and reason, bounded in number and bytes."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.counts: dict[tuple[str, str, str], _Count] = {}
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0

    def merge(self, count: _Count) -> bool:
        """Add a count to the one of the same client, stage and reason; False if there is none."""
        known = self.counts.get(count.identity)
        if known is None:
            return False
        self._bytes -= known.size
        known.add(count)
        self._bytes += known.size
        return True

    def keep(self, count: _Count, *, is_last_resort: bool = False) -> bool:
        """Keep a count; False if there is no room. The last resort are counts whose number is bounded otherwise."""
        if self.merge(count):
            return True
        is_full = len(self.counts) >= self._most or self._bytes + count.size > self._most_bytes
        if is_full and not is_last_resort:
            return False
        self.counts[count.identity] = count
        self._bytes += count.size
        return True

    def take(self) -> list[_Count]:
        """Remove and return all counts."""
        taken, self.counts, self._bytes = list(self.counts.values()), {}, 0
        return taken


class _Count:
    """How often one client was refused at one stage for one reason, and what is known of the last time."""

    __slots__ = (
        "address",
        "claims",
        "count",
        "detail",
        "device_id",
        "first_at",
        "identity",
        "is_proven",
        "last_at",
        "listener",
        "reason",
        "size",
        "stage",
    )

    listener: RefusalListener
    address: str
    claims: tuple[str | None, ...]
    detail: str
    device_id: str | None
    is_proven: bool
    size: int

    def __init__(self, claimant: str, stage: RefusalStage, reason: RefusalReason, at: int) -> None:
        self.identity = claimant, str(stage), str(reason)
        self.stage, self.reason = stage, reason
        self.count, self.first_at, self.last_at = 1, at, at

    def last(
        self,
        listener: RefusalListener,
        address: str,
        claims: tuple[str | None, ...],
        detail: str,
        device_id: str | None,
        *,
        is_proven: bool,
    ) -> None:
        """Set what is known of the last refusal."""
        self.listener, self.address, self.claims = listener, address, claims
        self.detail, self.device_id, self.is_proven = detail, device_id, is_proven
        self.size = COUNT_BYTES + sum(getsizeof(claim) for claim in claims if claim is not None)

    def add(self, other: _Count) -> None:
        """Add another count of the same client, stage and reason."""
        if other.last_at >= self.last_at:
            self.last(
                other.listener, other.address, other.claims, other.detail, other.device_id, is_proven=other.is_proven
            )
        self.count += other.count
        self.first_at = min(self.first_at, other.first_at)
        self.last_at = max(self.last_at, other.last_at)

    def forget(self, claimant: str) -> None:
        """Forget what was claimed, so that it can be counted together with others."""
        self.identity = claimant, str(self.stage), str(self.reason)
        self.claims, self.size = (None, None, None, None), COUNT_BYTES

    def increment(self) -> RefusalIncrement:
        """Return what is added to the record."""
        serial, key, client_id, topic = (None if claim is None else shown_claim(claim) for claim in self.claims)
        return RefusalIncrement(
            stage=self.stage,
            reason=self.reason,
            count=self.count,
            first_at=self.first_at,
            last_at=self.last_at,
            listener=self.listener,
            address=self.address,
            serial=serial,
            key=key,
            client_id=client_id,
            topic=topic,
            detail=self.detail,
            device_id=self.device_id,
            is_proven=self.is_proven,
            claimant=shown_claim(self.identity[0]),
        )


def _cut(claim: str | None) -> str | None:
    return claim[:MAX_CLAIM_TEXT] if claim else None


def _redacted(claim: str | None) -> str | None:
    """Leave out what may be a secret before cutting, which might leave most of one."""
    return redacted(claim[:READ_CLAIM])[:MAX_CLAIM_TEXT] if claim else None


def _claimant(claims: tuple[str | None, ...]) -> str:
    """Return what tells a stranger from others, without its address; empty if it claims nothing."""
    serial, key, client_id, _ = claims
    if serial is not None:
        return f"serial:{serial}"
    if key is not None:
        return f"key:{key}"
    return f"client:{client_id}" if client_id is not None else ""
