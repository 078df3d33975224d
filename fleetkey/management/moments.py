"""Moments in the past: `24h` ago, or a date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.expiry import DURATION, MAX_EXPIRY_DAYS, SECONDS

__all__ = ["parse_moment"]


def parse_moment(text: str, *, now: datetime, field: str) -> int:
    """Return a moment, in milliseconds since 1970.

    Args:
        text: how long ago (`90s`, `15m`, `12h`, `30d`, `4w`), a date (its first moment, UTC), or a date and time in
            ISO 8601 (UTC unless it says otherwise).
        now: the present, with its time zone.
        field: what it is for, for the message.

    Raises:
        InvalidRequestError: it is none of these.
    """
    duration = DURATION.match(text)
    try:
        if duration:
            seconds = min(int(duration[1]) * SECONDS[duration[2]], MAX_EXPIRY_DAYS * 86_400)
            moment = now - timedelta(seconds=seconds)
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        reason = f"{text[:40]!r} is no time; write how long ago, such as 24h or 7d, or a date such as 2027-01-31"
        raise InvalidRequestError(field, reason) from None
