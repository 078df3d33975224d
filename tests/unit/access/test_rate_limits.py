"""Rate limits and their buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.access import ExponentialBackoff, RateLimiter, address_bucket
from tests.unit.registry.store_rig import FakeClock

WINDOW = 60.0


def _limiter(clock: FakeClock, limit: int = 3, max_tracked: int = 100) -> RateLimiter:
    return RateLimiter(limit=limit, window_seconds=WINDOW, max_tracked=max_tracked, clock=clock)


def test_admit_up_to_the_limit() -> None:
    """Attempts up to the limit are admitted; the next one learns exactly how long to wait."""
    clock = FakeClock()
    limiter = _limiter(clock)
    for _ in range(3):
        assert limiter.admit("a") == 0
        clock.advance(10)
    assert limiter.admit("a") == 30
    clock.advance(29.5)
    assert limiter.admit("a") == 0.5
    clock.advance(0.5)
    assert limiter.admit("a") == 0
    assert limiter.admit("a") == 10


def test_admit_other_name() -> None:
    """Names are counted separately."""
    limiter = _limiter(FakeClock(), limit=1)
    assert limiter.admit("a") == 0
    assert limiter.admit("b") == 0
    assert limiter.admit("a") > 0


def test_admit_refused_attempts_count_nothing() -> None:
    """Refused attempts don't prolong the wait."""
    clock = FakeClock()
    limiter = _limiter(clock, limit=1)
    limiter.admit("a")
    for _ in range(59):
        clock.advance(1)
        assert limiter.admit("a") > 0
    clock.advance(1)
    assert limiter.admit("a") == 0


@given(st.lists(st.integers(0, 90), max_size=60), st.integers(1, 5))
def test_admit_any_window(pauses: list[int], limit: int) -> None:
    """No window of 60 s has more attempts than the limit, and each refused one would have been one too many."""
    clock = FakeClock()
    limiter = _limiter(clock, limit=limit)
    admitted: list[float] = []
    for pause in pauses:
        clock.advance(pause / 3)
        recent = [at for at in admitted if clock.now - at < WINDOW]
        wait = limiter.admit("a")
        assert (wait == 0) is (len(recent) < limit)
        if wait == 0:
            admitted.append(clock.now)
        else:
            assert wait == pytest.approx(recent[-limit] + WINDOW - clock.now)


def test_wait_seconds_counts_nothing() -> None:
    """Asking counts nothing and tracks nobody."""
    limiter = _limiter(FakeClock(), limit=1)
    for _ in range(5):
        assert limiter.wait_seconds("a") == 0
    assert len(limiter) == 0
    limiter.count("a")
    assert limiter.wait_seconds("a") == WINDOW


def test_limit_zero() -> None:
    """0 means no limit, and nothing is tracked."""
    limiter = _limiter(FakeClock(), limit=0)
    for _ in range(1_000):
        assert limiter.admit("a") == 0
    assert len(limiter) == 0


def test_max_tracked() -> None:
    """Memory is bounded however many names there are, and for each name."""
    clock = FakeClock()
    limiter = _limiter(clock, limit=2, max_tracked=10)
    for number in range(1_000):
        limiter.count(f"name {number}")
        limiter.count("the same")
    assert len(limiter) == 10
    assert all(len(attempts) <= 2 for attempts in limiter._attempts.values())
    assert limiter.wait_seconds("the same") > 0


@pytest.mark.parametrize("seen_by", ["count", "admit", "refused"])
def test_max_tracked_least_recently_seen(seen_by: str) -> None:
    """The least recently seen name is dropped first; one that keeps being refused counts as seen."""
    clock = FakeClock()
    limiter = _limiter(clock, limit=1 if seen_by == "refused" else 5, max_tracked=2)
    limiter.count("busy")
    clock.advance(1)
    limiter.count("quiet")
    clock.advance(1)
    if seen_by == "count":
        limiter.count("busy")
    else:
        limiter.admit("busy")
    limiter.count("new")
    assert set(limiter._attempts) == {"busy", "new"}


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        pytest.param("192.0.2.7", "192.0.2.7", id="ipv4"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="ipv6"),
        pytest.param("2001:0DB8:0001:0002::", "2001:db8:1:2::/64", id="ipv6_other_spelling"),
        pytest.param("::1", "::/64", id="ipv6_loopback"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="ipv6_zone"),
        pytest.param("::ffff:192.0.2.7", "192.0.2.7", id="mapped"),
        pytest.param("::ffff:c000:207", "192.0.2.7", id="mapped_in_hex"),
        pytest.param("", "", id="empty"),
        pytest.param("unix socket", "unix socket", id="junk"),
        pytest.param("192.0.2.7:1883", "192.0.2.7:1883", id="with_port"),
        pytest.param("\ud800", "\ud800", id="surrogate"),
    ],
)
def test_address_bucket(address: str, bucket: str) -> None:
    """An IPv4 address is its own bucket, an IPv6 address is in its /64, a mapped one counts as IPv4; junk stays."""
    assert address_bucket(address) == bucket


@given(st.text(max_size=40))
def test_address_bucket_any_text(text: str) -> None:
    """No text raises."""
    assert isinstance(address_bucket(text), str)


def test_next_seconds_doubles() -> None:
    """Each delay is twice the one before, up to the maximum, for each name separately; a reset starts over."""
    backoff = ExponentialBackoff(first_seconds=0.5, max_seconds=3, max_tracked=10)
    assert [backoff.next_seconds("a") for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert backoff.next_seconds("b") == 0.5
    backoff.reset("a")
    backoff.reset("never seen")
    assert backoff.next_seconds("a") == 0.5


def test_backoff_max_tracked() -> None:
    """The number of names is bounded; the least recently seen is dropped first."""
    backoff = ExponentialBackoff(first_seconds=1, max_seconds=100, max_tracked=3)
    for name in "abcab":
        backoff.next_seconds(name)
    for name in "de":
        backoff.next_seconds(name)
    assert len(backoff) == 3
    assert (backoff.next_seconds("b"), backoff.next_seconds("a")) == (4, 1)
