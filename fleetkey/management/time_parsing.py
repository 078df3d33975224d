"""Parsing times as operators write them: `30d` from now or `24h` ago, a date, or a date and time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from fleetkey.management.errors import InvalidRequestError

__all__ = ["parse_expiry", "parse_moment"]

MAX_EXPIRY_DAYS = 36_500
MAX_EXPIRY_DIGITS = 9
DURATION = re.compile(rf"(\d{{1,{MAX_EXPIRY_DIGITS}}})([smhdw])\Z", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def parse_expiry(text: str, *, now: datetime) -> int:
    """Parse a time in the future, and return it in milliseconds since 1970.

    Args:
        text: a duration from now (`90s`, `15m`, `12h`, `30d`, `4w`), a date (its first moment, UTC), or a date and
            time in ISO 8601 (UTC unless it says otherwise).
        now: the present, with its time zone.

    Raises:
        InvalidRequestError: it is none of these, not in the future, or over `MAX_EXPIRY_DAYS` away.
    """
    duration = DURATION.match(text)
    if duration:
        seconds = int(duration[1]) * SECONDS[duration[2]]
        ends = now + timedelta(seconds=min(seconds, 2 * MAX_EXPIRY_DAYS * 86_400))
    else:
        try:
            ends = datetime.fromisoformat(text)
        except ValueError:
            reason = f"{text[:40]!r} is not a time; write a duration such as 30d or 12h, or a date such as 2027-01-31"
            raise InvalidRequestError("expires", reason) from None
        if ends.tzinfo is None:
            ends = ends.replace(tzinfo=UTC)
    if ends <= now:
        raise InvalidRequestError("expires", f"{text[:40]!r} is not in the future")
    if ends > now + timedelta(days=MAX_EXPIRY_DAYS):
        raise InvalidRequestError(
            "expires", f"{text[:40]!r} is more than {MAX_EXPIRY_DAYS} days away; for no expiry, leave it out"
        )
    return int(ends.timestamp() * 1000)


def parse_moment(text: str, *, now: datetime, field: str) -> int:
    """Parse a time in the past or future, and return it in milliseconds since 1970.

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
        reason = f"{text[:40]!r} is not a time; write how long ago, such as 24h or 7d, or a date such as 2027-01-31"
        raise InvalidRequestError(field, reason) from None
