"""The table, and the line at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.figure import Figure

__all__ = ["figures_table", "machine_line", "summary"]

HEADER = ("figure", "ours", "peer", "ratio", "target", "met")


def machine_line(facts: Mapping[str, Any]) -> str:
    """Return the machine's facts on one line."""
    return "machine: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def figures_table(figures: Sequence[Figure]) -> str:
    """Return a row a figure, and under it what the peer is."""
    rows = [HEADER, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [_line(HEADER, widths), "  ".join("-" * width for width in widths)]
    for figure, row in zip(figures, rows[1:], strict=True):
        lines.append(_line(row, widths))
        lines.append("    " + "; ".join(part for part in (f"peer: {figure.peer_name}", figure.note) if part))
    return "\n".join(lines)


def summary(figures: Sequence[Figure]) -> str:
    """Return one line: how many targets were met, and which were not."""
    missed = [figure.name for figure in figures if not figure.is_met]
    with_target = sum(1 for figure in figures if figure.targets)
    if not missed:
        return f"All {with_target} figures with a target met it."
    return f"!!! MISSED !!! {len(missed)} of {with_target} figures missed their target: {', '.join(missed)}"


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = f"{figure.ratio:,.0f}" if figure.ratio >= 100 else f"{figure.ratio:.2f}"
    met = ("yes" if figure.is_met else "MISSED") if figure.targets else "-"
    return (
        figure.name,
        f"{_number(figure.ours)} {figure.unit}",
        f"{_number(figure.peer)} {figure.unit}",
        f"{ratio} {figure.ratio_is}",
        " and ".join(map(str, figure.targets)) or "-",
        met,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
