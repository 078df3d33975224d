"""Bounded lists: pages with a cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from fleetkey.management.errors import InvalidRequestError
from fleetkey.registry import InvalidSerialError, parse_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "MAX_PAGE",
    "Batch",
    "EncodedPage",
    "Page",
    "PositionList",
    "check_limit",
    "fill_page",
    "invalid_cursor",
    "parse_device_cursor",
    "parse_position",
    "parse_serial_cursor",
    "position_cursor",
    "serial_cursor",
]

MAX_PAGE = 1000
"""Maximum number of items in one page."""
MAX_PAGE_PART_BYTES = 64 * 1024
"""Bytes of JSON after which a page ends early; its first item may be longer."""
FIRST_BATCH = 8
"""How many items are read for a page before their size is known."""
MAX_BATCH = 256
"""How many items are read at once for a page."""
MAX_CURSOR_DIGITS = 18
DEVICE_CURSOR = re.compile(r"[0-9a-f]{24}\Z")
SERIAL_CURSOR = "serial:"
"""Prefix before the serial, since a serial may look like the cursor of another list."""

P = TypeVar("P")
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class PositionList(StrEnum):
    """The lists ordered by position. Their cursors begin with the list's name, so that they can't be mixed up."""

    KEYS = "key"
    TOKENS = "token"
    AUDIT = "audit"
    REFUSALS = "refusal"

    @property
    def pattern(self) -> str:
        """The regular expression for its cursors."""
        return rf"^{self}:[0-9]{{1,{MAX_CURSOR_DIGITS}}}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items, and the cursor of the next page.

    A page may have fewer items than requested, or none, and still have a next page: the work for a page and its bytes
    are bounded, not only its items. If `next_cursor` is None, the list is complete.
    """

    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPage(Page[T]):
    """A page with its items as JSON, whose bytes are bounded."""

    encoded: bytes
    """The items, separated by commas."""
    is_cut: bool
    """Whether the page ended only because of its bytes, so that the next one may be read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[T, P]):
    """Items read from the registry at once.

    Args:
        items: in the order of the list.
        reached: the position after which the list continues; None = it is complete.
    """

    items: Sequence[T]
    reached: P | None


def fill_page(
    read: Callable[[P, int], Batch[T, P]],
    *,
    start: P,
    limit: int,
    show: Callable[[T], S],
    position: Callable[[T], P],
    cursor: Callable[[P], str],
) -> EncodedPage[S]:
    """Return the page after a position: at most `limit` items and `MAX_PAGE_PART_BYTES`, but at least one item.

    The registry is read a batch at a time, so that no more is in memory than fits, unless items get longer suddenly.

    Args:
        read: returns up to so many items after a position; if fewer, the page ends with them.
        start: the position after which the page begins.
        limit: the maximum number of items; 1 to `MAX_PAGE`.
        show: returns an item's schema.
        position: returns an item's position.
        cursor: returns the cursor for a position.
    """
    shown: list[S] = []
    encoded: list[bytes] = []
    size, reached, wanted = 0, start, min(limit, FIRST_BATCH)

    def page(after: P | None, *, is_cut: bool = False) -> EncodedPage[S]:
        following = None if after is None else cursor(after)
        return EncodedPage(items=tuple(shown), encoded=b",".join(encoded), next_cursor=following, is_cut=is_cut)

    while True:
        batch = read(reached, wanted)
        for item in batch.items:
            answer = show(item)
            text = msgspec.json.encode(answer)
            if shown and size + len(text) >= MAX_PAGE_PART_BYTES:
                return page(reached, is_cut=True)
            shown.append(answer)
            encoded.append(text)
            size += len(text) + 1
            reached = position(item)
        if batch.reached is None or len(batch.items) < wanted or len(shown) == limit:
            return page(batch.reached)
        reached = batch.reached
        fitting = (MAX_PAGE_PART_BYTES - size) * len(shown) // size
        wanted = max(1, min(limit - len(shown), fitting + 1, MAX_BATCH))


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
        raise invalid_cursor()
    return int(digits)


def parse_device_cursor(cursor: str | None) -> str:
    """Return the device id after which a page begins; empty if there is no cursor. Raises `InvalidRequestError`."""
    if cursor is not None and not DEVICE_CURSOR.match(cursor):
        raise invalid_cursor()
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
    raise invalid_cursor()


def invalid_cursor() -> InvalidRequestError:
    """Return the error for a cursor that is not of this list."""
    return InvalidRequestError("cursor", "this is not a cursor of an earlier page of this list")
