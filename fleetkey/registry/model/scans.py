"""What a bounded search of the registry found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Scan"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan(Generic[T]):
    """Items that a bounded search found.

    Args:
        items: what matches, in the order of the list.
        reached: the id or serial of the last one that was examined; None = the search is complete.
        scanned: how many were examined.
    """

    items: Sequence[T]
    reached: str | None
    scanned: int
