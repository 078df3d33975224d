"""How waits grow, and that they stay in their bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.device import Backoff


def test_next_seconds_without_jitter() -> None:
    """Waits grow by the factor up to the largest, and start over after `reset`."""
    backoff = Backoff(initial_seconds=1, max_seconds=5, factor=2, jitter="none")
    assert [backoff.next_seconds() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next_seconds() == 1


def test_next_seconds_full_jitter() -> None:
    """Full jitter takes the given part of each ceiling."""
    numbers = iter([0.5, 0.0, 1.0])
    backoff = Backoff(initial_seconds=1, max_seconds=120, factor=2, random=lambda: next(numbers))
    assert [backoff.next_seconds() for _ in range(3)] == [0.5, 0.0, 4.0]


def test_spread() -> None:
    """A wait that was asked for gets at most a tenth longer, and never shorter."""
    assert Backoff(random=lambda: 1.0).spread(60) == pytest.approx(66)
    assert Backoff(random=lambda: 0.0).spread(60) == 60
    assert Backoff(jitter="none").spread(60) == 60


def test_copy() -> None:
    """A copy has the numbers and not the waits so far."""
    backoff = Backoff(initial_seconds=3, max_seconds=100, jitter="none")
    backoff.next_seconds()
    assert backoff.copy().next_seconds() == 3
    assert backoff.next_seconds() == 6


@given(
    initial=st.floats(0.001, 10),
    more=st.floats(0, 1000),
    factor=st.floats(1, 1e300),
    tries=st.integers(1, 50),
)
def test_next_seconds_bounds(initial: float, more: float, factor: float, tries: int) -> None:
    """No wait is ever negative or over the largest, however many there were."""
    backoff = Backoff(initial_seconds=initial, max_seconds=initial + more, factor=factor)
    assert all(0 <= backoff.next_seconds() <= initial + more for _ in range(tries))


@pytest.mark.parametrize(
    "wrong",
    [{"initial_seconds": 0}, {"initial_seconds": 2, "max_seconds": 1}, {"factor": 0.5}, {"jitter": "half"}],
)
def test_init_out_of_range(wrong: dict[str, Any]) -> None:
    """Numbers that make no sense are refused."""
    with pytest.raises(ValueError, match="must be"):
        Backoff(**wrong)
