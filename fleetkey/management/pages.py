"""Bounded lists: pages with a cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from fleetkey.management.errors import InvalidRequestError
from fleetkey.registry import InvalidSerialError, parse_serial

__all__ = [
    "MAX_PAGE",
    "MAX_SCANNED",
    "MAX_SCAN_SECONDS",
    "Page",
    "PositionList",
    "check_limit",
    "parse_device_cursor",
    "parse_position",
    "parse_serial_cursor",
    "position_cursor",
    "serial_cursor",
]

MAX_PAGE = 1000
"""Maximum number of items in one page."""
MAX_SCANNED = 2000
"""How many devices or serials are examined for one page, which may therefore be short."""
MAX_SCAN_SECONDS = 0.25
"""How long serials are matched against a pattern for one page, which may therefore be short."""
MAX_CURSOR_DIGITS = 18
DEVICE_CURSOR = re.compile(r"[0-9a-f]{24}\Z")
SERIAL_CURSOR = "serial:"
"""Prefix before the serial, since a serial may look like the cursor of another list."""

T = TypeVar("T")


class PositionList(StrEnum):
    """The lists ordered by position. Their cursors begin with the list's name, so that they can't be mixed up."""

    KEYS = "key"
    TOKENS = "token"
    AUDIT = "audit"

    @property
    def pattern(self) -> str:
        """The regular expression for its cursors."""
        return rf"^{self}:[0-9]{{1,{MAX_CURSOR_DIGITS}}}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items, and the cursor of the next page.

    A page may have fewer items than requested, or none, and still have a next page: the work for a page is bounded,
    not only its size. If `next_cursor` is None, the list is complete.
    """

    items: tuple[T, ...]
    next_cursor: str | None


def check_limit(limit: int) -> int:
    """Return the size of a page. Raises `InvalidRequestError` unless it is 1 to `MAX_PAGE`."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequestError("limit", f"a page must have 1 to {MAX_PAGE} items, not {limit}")
    return limit


def position_cursor(of: PositionList, position: int) -> str:
    """Return the cursor of the page after a position."""
    return f"{of}:{position}"


def parse_position(of: PositionList, cursor: str | None) -> int:
    """Return a cursor's position, 0 without one. Raises `InvalidRequestError` for a cursor of another list."""
    if cursor is None:
        return 0
    name, _, digits = cursor.partition(":")
    if name != of or not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_CURSOR_DIGITS:
        raise _no_cursor()
    return int(digits)


def parse_device_cursor(cursor: str | None) -> str:
    """Return the device id after which a page begins; empty if there is no cursor. Raises `InvalidRequestError`."""
    if cursor is not None and not DEVICE_CURSOR.match(cursor):
        raise _no_cursor()
    return cursor or ""


def serial_cursor(serial: str) -> str:
    """Return the cursor of the page after a serial."""
    return SERIAL_CURSOR + serial


def parse_serial_cursor(cursor: str | None) -> str:
    """Return the serial after which a page begins; empty if there is no cursor. Raises `InvalidRequestError`."""
    if cursor is None:
        return ""
    try:
        if cursor.startswith(SERIAL_CURSOR):
            return parse_serial(cursor.removeprefix(SERIAL_CURSOR))
    except InvalidSerialError:
        pass
    raise _no_cursor()


def _no_cursor() -> InvalidRequestError:
    return InvalidRequestError("cursor", "this is not a cursor of an earlier page of this list")
