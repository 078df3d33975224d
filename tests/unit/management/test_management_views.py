"""What is shown of the registry's values."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fleetkey.management import when


@given(st.integers(0, 253_402_300_799_999))
def test_when(milliseconds: int) -> None:
    """A time is ISO 8601 in UTC to the millisecond, up to the year 9999."""
    expected = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    assert when(milliseconds) == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_never() -> None:
    """What never was has no time."""
    assert when(None) is None
