"""How wide the columns of a list are, so that it fits a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GAP", "fitted", "shortened"]

GAP = "  "
"""What is between two columns."""
MIN_WIDTH = 4
"""What is left of a column at least, however narrow the terminal is."""
ELLIPSIS = "…"


def fitted(widths: Sequence[int], available: int) -> list[int]:
    """Return the widths of columns, narrowed until a line has at most `available` characters, if that is possible.

    The first column, which says what the line is about, stays whole. The widest of the others is narrowed first, and
    of two that are equally wide the one further right.
    """
    found = list(widths)
    while sum(found) + len(GAP) * (len(found) - 1) > available:
        widest = max(range(1, len(found)), key=lambda at: (found[at], at), default=0)
        if found[widest] <= MIN_WIDTH:
            return found
        found[widest] -= 1
    return found


def shortened(cell: str, width: int) -> str:
    """Return a cell as it is or, if it is too long, its beginning and an ellipsis."""
    return cell if len(cell) <= width else cell[: max(width - len(ELLIPSIS), 0)] + ELLIPSIS
