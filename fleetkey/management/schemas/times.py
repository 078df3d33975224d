"""How times are shown: ISO 8601 in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

import msgspec

__all__ = ["TIME", "Time", "shown_time", "when"]

MAX_REMEMBERED_MINUTES = 1024
"""Minutes whose text is remembered."""

TIME = msgspec.Meta(extra={"format": "date-time"})
"""Marks a text as a time for whoever describes it."""
Time = Annotated[str, TIME]
"""A text, because msgspec writes a `datetime` in another form."""


def when(milliseconds: int | None) -> str | None:
    """Return a stored time, which may be none, as it is shown."""
    return None if milliseconds is None else shown_time(milliseconds)


def shown_time(milliseconds: int) -> str:
    """Return a stored time as it is shown."""
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_to_the_minute(minute)}:{rest // 1000:02}.{rest % 1000:03}Z"


@lru_cache(maxsize=MAX_REMEMBERED_MINUTES)
def _to_the_minute(minute: int) -> str:
    # What takes the time: a page of devices has a hundred times, and many are of the same minutes.
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")[:16]
