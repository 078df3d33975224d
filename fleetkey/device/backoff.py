"""Delays between attempts."""

from __future__ import annotations

import random as random_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff"]

SPREAD = 0.1


class Backoff:
    """Exponential backoff with jitter, so that a fleet doesn't reconnect all at once.

    With full jitter, each delay is uniformly distributed between 0 and a ceiling, which starts at `initial_seconds`,
    grows by `factor` and ends at `max_seconds`. It has state, so use a separate one for each purpose (`copy()`).

    Args:
        initial_seconds: the first ceiling, greater than 0.
        max_seconds: the last ceiling, at least `initial_seconds`.
        factor: growth per attempt, at least 1.
        jitter: `full`, or `none` for the ceiling itself.
        random: returns a number from 0 to 1; replaced in tests.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        initial_seconds: float = 1.0,
        max_seconds: float = 120.0,
        factor: float = 2.0,
        jitter: Literal["full", "none"] = "full",
        random: Callable[[], float] = random_module.random,
    ) -> None:
        if not 0 < initial_seconds <= max_seconds:
            raise ValueError("initial_seconds must be greater than 0 and at most max_seconds")
        if factor < 1:
            raise ValueError("factor must be at least 1")
        if jitter not in {"full", "none"}:
            raise ValueError("jitter must be 'full' or 'none'")
        self._initial_seconds = initial_seconds
        self._max_seconds = max_seconds
        self._factor = factor
        self._jitter: Literal["full", "none"] = jitter
        self._random = random
        self._ceiling_seconds = initial_seconds

    def next_seconds(self) -> float:
        """Return the current delay in seconds, and increase the next one."""
        ceiling_seconds = self._ceiling_seconds
        self._ceiling_seconds = min(self._max_seconds, ceiling_seconds * self._factor)
        return ceiling_seconds * self._random() if self._jitter == "full" else ceiling_seconds

    def spread(self, seconds: float) -> float:
        """Return a requested delay plus a random addition of up to a tenth."""
        return seconds * (1 + SPREAD * self._random()) if self._jitter == "full" else seconds

    def reset(self) -> None:
        """Start over at the first ceiling."""
        self._ceiling_seconds = self._initial_seconds

    def copy(self) -> Backoff:
        """Return a new one with the same parameters."""
        return Backoff(
            initial_seconds=self._initial_seconds,
            max_seconds=self._max_seconds,
            factor=self._factor,
            jitter=self._jitter,
            random=self._random,
        )
