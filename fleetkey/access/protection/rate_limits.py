"""Counting attempts per address or serial, in bounded memory."""

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
MAX_REMEMBERED_BUCKETS = 10_000
"""Addresses whose bucket is remembered."""


class RateLimiter:
    """At most `limit` attempts in any `window_seconds`, for each of up to `max_tracked` names.

    The name that was seen least recently is forgotten first. A limit of 0 is no limit.
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
        """Return how long until the next attempt is within the limit; 0 = now. Counts nothing."""
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
        """Take back the newest attempt that was counted, if it is still known."""
        attempts = self._attempts.get(name)
        if attempts:
            attempts.pop()

    def admit(self, name: str) -> float:
        """Count an attempt if it is within the limit and return 0, or return how many seconds to wait."""
        wait = self.wait_seconds(name)
        if wait:
            # Still seen: whoever keeps trying is not the one to be forgotten first.
            self._attempts.move_to_end(name)
        else:
            self.count(name)
        return wait


class ExponentialBackoff:
    """Delays that double with every attempt of a name, for each of up to `max_tracked` names.

    The name that was seen least recently is forgotten first.
    """

    def __init__(self, *, first_seconds: float, most_seconds: float, max_tracked: int) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._max_tracked = max_tracked
        self._delays: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many names are tracked."""
        return len(self._delays)

    def next_seconds(self, name: str) -> float:
        """Return the delay of one more attempt."""
        delay = self._delays.pop(name, 0.0)
        if len(self._delays) >= self._max_tracked:
            self._delays.popitem(last=False)
        delay = min(self._most_seconds, 2 * delay or self._first_seconds)
        self._delays[name] = delay
        return delay

    def reset(self, name: str) -> None:
        """Begin anew with the first delay."""
        self._delays.pop(name, None)


@lru_cache(maxsize=MAX_REMEMBERED_BUCKETS)
def address_bucket(address: str) -> str:
    """Return what attempts are counted by: the IPv4 address, or the /64 of an IPv6 address.

    Whoever has one IPv6 address usually has its whole /64 (RFC 6177), so counting single ones would count nothing.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, IPV6_PREFIX), strict=False))
