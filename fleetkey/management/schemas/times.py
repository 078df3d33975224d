"""The format of times: ISO 8601 in UTC, with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

import msgspec

__all__ = ["TIME", "Time", "shown_time", "when"]

MAX_REMEMBERED_MINUTES = 1024
"""How many minutes are cached as text."""

TIME = msgspec.Meta(extra={"format": "date-time"})
"""Marks a string as a time for the OpenAPI description."""
Time = Annotated[str, TIME]
"""A string, because msgspec writes `datetime` in another format."""


def when(milliseconds: int | None) -> str | None:
    """Return a stored time in the format of times; None stays None."""
    return None if milliseconds is None else shown_time(milliseconds)


def shown_time(milliseconds: int) -> str:
    """Return a stored time in the format of times."""
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_to_the_minute(minute)}:{rest // 1000:02}.{rest % 1000:03}Z"


@lru_cache(maxsize=MAX_REMEMBERED_MINUTES)
def _to_the_minute(minute: int) -> str:
    # The slow part: a page has hundreds of times, many in the same minute.
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")[:16]
