"""Rate limits and growing delays per address, serial or key, in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExponentialBackoff", "RateLimiter", "address_bucket"]

IPV6_PREFIX = 64
"""Bits of an IPv6 address that name its bucket."""
MAX_CACHED_BUCKETS = 10_000
"""Addresses whose bucket is cached."""


class RateLimiter:
    """Allow `limit` attempts per name in any `window_seconds`.

    Tracks up to `max_tracked` names and drops the least recently seen first. A limit of 0 means no limit.
    """

    def __init__(
        self,
        *,
        limit: int,
        window_seconds: float,
        max_tracked: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_tracked = max_tracked
        self._limit = limit
        self._window_seconds = window_seconds
        self._clock = clock
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many names are tracked."""
        return len(self._attempts)

    def wait_seconds(self, name: str) -> float:
        """Return how long to wait until the next attempt is within the limit; 0 for none. Counts nothing."""
        attempts = self._attempts.get(name)
        if not self._limit or attempts is None or len(attempts) < self._limit:
            return 0.0
        return max(0.0, attempts[0] + self._window_seconds - self._clock())

    def count(self, name: str) -> None:
        """Count one attempt."""
        if not self._limit:
            return
        attempts = self._attempts.get(name)
        if attempts is None:
            if len(self._attempts) >= self.max_tracked:
                self._attempts.popitem(last=False)
            attempts = self._attempts[name] = deque(maxlen=self._limit)
        else:
            self._attempts.move_to_end(name)
        attempts.append(self._clock())

    def give_back(self, name: str) -> None:
        """Undo the last counted attempt of a name, if the name is still tracked."""
        attempts = self._attempts.get(name)
        if attempts:
            attempts.pop()

    def admit(self, name: str) -> float:
        """Count an attempt and return 0 if it is within the limit; otherwise return how many seconds to wait."""
        wait = self.wait_seconds(name)
        if wait:
            # Counts as seen: a name that keeps trying must not be the first one dropped.
            self._attempts.move_to_end(name)
        else:
            self.count(name)
        return wait


class ExponentialBackoff:
    """Double a name's delay with each attempt, from `first_seconds` up to `max_seconds`.

    Tracks up to `max_tracked` names and drops the least recently seen first.
    """

    def __init__(self, *, first_seconds: float, max_seconds: float, max_tracked: int) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._max_tracked = max_tracked
        self._delays: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many names are tracked."""
        return len(self._delays)

    def next_seconds(self, name: str) -> float:
        """Return the delay for another attempt, and double the one after it."""
        delay = self._delays.pop(name, 0.0)
        if len(self._delays) >= self._max_tracked:
            self._delays.popitem(last=False)
        delay = min(self._max_seconds, 2 * delay or self._first_seconds)
        self._delays[name] = delay
        return delay

    def reset(self, name: str) -> None:
        """Start over at the first delay."""
        self._delays.pop(name, None)


@lru_cache(maxsize=MAX_CACHED_BUCKETS)
def address_bucket(address: str) -> str:
    """Return the bucket that an address's attempts are counted in: the IPv4 address itself, or an IPv6 address's /64.

    A site usually gets a whole /64 (RFC 6177), so a limit per IPv6 address would limit nothing.
    """
    if ":" not in address:
        # Most connections', several times each: parsing an address takes longer than counting it.
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, IPV6_PREFIX), strict=False))
