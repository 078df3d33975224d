"""Slow down those who fail, without locking anyone out."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fleetkey.access.errors import OverloadedError
from fleetkey.access.protection.fair_queue import FairQueue
from fleetkey.access.protection.rate_limits import ExponentialBackoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleetkey.access.protection.rate_limits import RateLimiter

__all__ = ["FailureThrottle"]

FIRST_DELAY_SECONDS = 0.1
"""How long the first refusal over a limit is delayed; the delay doubles with each further one."""
MAX_DELAY_SECONDS = 5.0
"""The longest such delay."""
MAX_DELAYED = 1_000
"""Refusals delayed at once; any more are sent without the delay."""
MAX_QUEUE_SECONDS = 5.0
"""How long an attempt over a limit may queue, so that its CONNACK is sent in time."""


class FailureThrottle:
    """Limit failures per address and per key. Over a limit, attempts queue and refusals are delayed.

    The right secret still gets in: from the queue, and without any delay. Belongs to one event loop.

    Args:
        addresses: limits failures per address bucket.
        keys: limits failures per key.
        backoff: how long refusals over a limit are delayed.
    """

    def __init__(self, addresses: RateLimiter, keys: RateLimiter, backoff: ExponentialBackoff | None = None) -> None:
        self._addresses = addresses
        self._keys = keys
        if backoff is None:
            backoff = ExponentialBackoff(
                first_seconds=FIRST_DELAY_SECONDS, max_seconds=MAX_DELAY_SECONDS, max_tracked=addresses.max_tracked
            )
        self._backoff = backoff
        self._queue = FairQueue()
        self._delayed = 0

    def source_over_limit(self, address: str, key: str) -> str | None:
        """Return which source of an attempt is over its limit: the address, else the key; None if neither is."""
        if self.is_address_over_limit(address):
            return f"address {address}"
        return f"key {key}" if self._keys.wait_seconds(key) else None

    def is_address_over_limit(self, address: str) -> bool:
        """Return whether an address has failed too often."""
        return self._addresses.wait_seconds(address) > 0

    def count(self, address: str, key: str | None) -> None:
        """Count one failure of an address, and of a key if there was one."""
        self._addresses.count(address)
        if key is not None:
            self._keys.count(key)

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Queue an attempt of a source that is over its limit: one runs at a time, so they can't occupy the pool.

        Raises:
            OverloadedError: the queue is full, or the turn didn't come within `MAX_QUEUE_SECONDS`.
        """
        try:
            async with asyncio.timeout(MAX_QUEUE_SECONDS) as deadline, self._queue.turn(source):
                deadline.reschedule(None)
                yield
        except TimeoutError:
            msg = f"queued for {MAX_QUEUE_SECONDS:g} s"
            raise OverloadedError(msg) from None

    async def delay(self, address: str, key: str) -> None:
        """Delay a refusal whose address or key is over its limit; do nothing if neither is."""
        seconds = 0.0
        for limiter, kind, name in ((self._addresses, "address", address), (self._keys, "key", key)):
            if limiter.wait_seconds(name):
                seconds = max(seconds, self._backoff.next_seconds(f"{kind} {name}"))
            else:
                self._backoff.reset(f"{kind} {name}")
        if not seconds or self._delayed >= MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._delayed -= 1

    def reset_delay(self, address: str, key: str) -> None:
        """Start an address and a key over at the first delay."""
        self._backoff.reset(f"address {address}")
        self._backoff.reset(f"key {key}")
