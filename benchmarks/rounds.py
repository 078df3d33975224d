"""Measuring side by side: A B A B …, so that whatever else the machine does meets every side alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROUNDS", "alternate"]

ROUNDS = 5
"""Medians are over at least as many."""

T = TypeVar("T")


def alternate(*sides: Callable[[], T], rounds: int = ROUNDS) -> list[list[T]]:
    """Call every side once a round, in turn; return what each side returned, round by round."""
    measured: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for values, side in zip(measured, sides, strict=True):
            values.append(side())
    return measured
