"""The arithmetic of a device's rate, on a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.message_rate import BURST_SECONDS, MessageRate

if TYPE_CHECKING:
    from collections.abc import Iterable

START = 1_000_000.0
TINY = 1e-6
"""What floating point may be off by."""

sendings = st.lists(st.tuples(st.floats(0, 3), st.integers(2, 5_000)), min_size=1, max_size=40)
"""How long after the one before each message is sent, and its bytes."""


def _taken(rate: MessageRate, sent: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return when each message is taken, by a reader that waits as it is told."""
    taken, now, may_read_at = [], START, START
    for gap, size in sent:
        now = max(now + gap, may_read_at)
        taken.append((now, size))
        may_read_at = now + rate.take(now, size)
    return taken


@given(sendings, st.integers(1, 50), st.integers(1, 2_000))
def test_take_bounds_every_window(sent: list[tuple[float, int]], per_second: int, bytes_per_second: int) -> None:
    """In any `t` seconds no more is taken than the burst, `t` times the rate, and one message."""
    taken = _taken(MessageRate(per_second, bytes_per_second), sent)
    for first, (begin, _) in enumerate(taken):
        total = 0
        for last in range(first, len(taken)):
            end, size = taken[last]
            seconds = BURST_SECONDS + end - begin
            assert last - first <= per_second * seconds + TINY
            assert total <= bytes_per_second * seconds + TINY
            total += size


@given(sendings, st.integers(1, 50), st.integers(5_000, 20_000))
def test_take_within_the_rate(sent: list[tuple[float, int]], per_second: int, bytes_per_second: int) -> None:
    """A device that stays within burst and rate in every window never waits."""
    rate = MessageRate(per_second, bytes_per_second)
    sizes = [size for _, size in sent]
    times: list[float] = []
    for number, (gap, _) in enumerate(sent):
        now = (times[-1] if times else START) + gap
        for first, begin in enumerate(times):
            # As late as it has to be for the window from there on to hold it.
            now = max(now, begin + (number - first + 1) / per_second - BURST_SECONDS)
            now = max(now, begin + sum(sizes[first : number + 1]) / bytes_per_second - BURST_SECONDS)
        times.append(now)
        assert rate.take(now, sizes[number]) <= TINY


@pytest.mark.parametrize(
    ("per_second", "bytes_per_second", "wait", "bound"),
    [
        pytest.param(0, 100, 9.0, "max_bytes_per_second", id="larger_than_the_burst"),
        pytest.param(10, 100, 9.0, "max_bytes_per_second", id="bytes"),
        pytest.param(10, 0, -0.9, "max_messages_per_second", id="messages"),
    ],
)
def test_take_large(per_second: int, bytes_per_second: int, wait: float, bound: str) -> None:
    """A message is taken whole however large it is, and waited for afterwards, for as long as its bytes take."""
    rate = MessageRate(per_second, bytes_per_second)
    assert rate.take(START, 1_000) == pytest.approx(wait)
    assert rate.tighter_bound == bound
    assert rate.wait_seconds(START + 1) == pytest.approx(wait - 1)
    assert not rate.is_full(START)
    assert rate.is_full(START + wait + BURST_SECONDS + TINY)


def test_take_burst() -> None:
    """After a pause, however long, one second's worth may come at once, and one message more; then one at a time."""
    rate = MessageRate(5, 0)
    for now in (START, START + 1_000):
        assert max(rate.take(now, 10) for _ in range(5)) <= TINY
        assert rate.take(now, 10) == pytest.approx(0.2)
        assert rate.take(now + 0.2, 10) == pytest.approx(0.2)
