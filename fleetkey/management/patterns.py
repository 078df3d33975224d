"""Patterns for serials in operators' requests."""

from __future__ import annotations

from fleetkey.config import PatternError, SerialPattern
from fleetkey.management.errors import InvalidRequestError

__all__ = ["parse_serial_pattern"]


def parse_serial_pattern(text: str | None) -> SerialPattern | None:
    """Return the pattern, or None without one. Raises `InvalidRequestError` if it can't be used."""
    if text is None:
        return None
    try:
        return SerialPattern(text)
    except PatternError as error:
        raise InvalidRequestError("serial_pattern", f"the serial pattern can't be used: {error}") from None
