"""The throttle for those who fail."""

from __future__ import annotations

import pytest

from fleetkey.access import ExponentialBackoff, RateLimiter
from fleetkey.access.protection.failure_throttle import FailureThrottle

LIMIT = 2


@pytest.fixture
def backoff() -> ExponentialBackoff:
    """Delays that take no time worth mentioning."""
    return ExponentialBackoff(first_seconds=0.001, max_seconds=1, max_tracked=10)


@pytest.fixture
def throttle(backoff: ExponentialBackoff) -> FailureThrottle:
    """A throttle with the same limit for addresses and keys."""
    return FailureThrottle(
        addresses=RateLimiter(limit=LIMIT, window_seconds=60, max_tracked=10),
        keys=RateLimiter(limit=LIMIT, window_seconds=60, max_tracked=10),
        backoff=backoff,
    )


def test_source_over_limit(throttle: FailureThrottle) -> None:
    """The address is named first, then the key; other addresses and keys aren't over their limits."""
    assert throttle.source_over_limit("a", "k") is None
    for number in range(LIMIT):
        throttle.count(f"other {number}", "k")
    assert throttle.source_over_limit("a", "k") == "key k"
    for _ in range(LIMIT):
        throttle.count("a", None)
    assert throttle.source_over_limit("a", "k") == "address a"
    assert throttle.source_over_limit("b", "l") is None


async def test_delay_grows_over_the_limit(throttle: FailureThrottle, backoff: ExponentialBackoff) -> None:
    """Nothing is delayed within the limits; over one, each delay is twice the last, until it is reset."""
    await throttle.delay("a", "k")
    assert len(backoff) == 0
    for _ in range(LIMIT):
        throttle.count("a", None)
    for _ in range(2):
        await throttle.delay("a", "k")
    assert backoff.next_seconds("address a") == 0.004
    throttle.reset_delay("a", "k")
    assert len(backoff) == 0
