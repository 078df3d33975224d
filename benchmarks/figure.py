"""What every benchmark returns: figures, each with a peer from the same run and what it has to reach."""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Benchmark", "Figure", "Target"]

COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure's `ratio`, or in its unit on `ours` or on what is `added` to the peer."""

    of: Literal["ratio", "ours", "added"]
    comparison: Literal["<", "<=", ">="]
    limit: float

    def __str__(self) -> str:
        """Return it as the table shows it."""
        return f"{self.of} {self.comparison} {self.limit:,g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Our medians beside a peer's, both over alternating rounds.

    Args:
        name: what was measured.
        unit: of `ours` and `peer`.
        ours_rounds: one value a round.
        peer_rounds: one value a round, measured in between.
        peer_name: what the peer is.
        targets: all of them must be met; none = the figure is for information.
        ratio_is: `peer/ours` says how many times less we need.
        note: what else a reader wants to know.
    """

    name: str
    unit: str
    ours_rounds: Sequence[float]
    peer_rounds: Sequence[float]
    peer_name: str
    targets: tuple[Target, ...] = ()
    ratio_is: Literal["ours/peer", "peer/ours"] = "ours/peer"
    note: str = ""

    @property
    def ours(self) -> float:
        """The median of our rounds."""
        return statistics.median(self.ours_rounds)

    @property
    def peer(self) -> float:
        """The median of the peer's rounds."""
        return statistics.median(self.peer_rounds)

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self.ours / self.peer if self.ratio_is == "ours/peer" else self.peer / self.ours

    @property
    def is_met(self) -> bool:
        """Whether every target is reached."""
        measured = {"ratio": self.ratio, "ours": self.ours, "added": self.ours - self.peer}
        return all(COMPARISONS[target.comparison](measured[target.of], target.limit) for target in self.targets)

    def as_fields(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.peer_name,
            "ratio": self.ratio,
            "ratio_is": self.ratio_is,
            "targets": [str(target) for target in self.targets],
            "met": self.is_met,
            "note": self.note,
            "ours_rounds": list(self.ours_rounds),
            "peer_rounds": list(self.peer_rounds),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One subject to measure."""

    name: str
    summary: str
    run: Callable[[], list[Figure]]
