"""The measured figures as Markdown tables, put between two marks of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.plots.curves import CURVES, SIZES, curve_figure_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["measured_part", "with_measured_part"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FACTS = ("cores", "machine", "python", "bcrypt", "load_average_before")


def measured_part(result: Mapping[str, Any]) -> str:
    """Return tables of what a run of `python -m benchmarks broker --json` measured."""
    figures = {figure["name"]: figure for figure in result["figures"]}
    curves = [curve_figure_name(curve, size) for curve in CURVES for size in SIZES]
    facts = ", ".join(f"{name.replace('_', ' ')} {result['machine'][name]}" for name in FACTS)
    lines = [
        f"Machine: {facts}. Medians of alternating rounds, measured in {result['seconds']:.0f} s.",
        "",
        "| figure | ours | beside | ratio | target | met |",
        "|---|---|---|---|---|---|",
        *(_row(figure) for name, figure in figures.items() if name not in curves),
        "",
        f"| devices | {' | '.join(f'{curve.name}, ours | mosquitto' for curve in CURVES)} |",
        f"|---|{'---|---|' * len(CURVES)}",
    ]
    for size in SIZES:
        at_size = [figures[curve_figure_name(curve, size)] for curve in CURVES]
        cells = [_value(figure[side], figure["unit"]) for figure in at_size for side in ("ours", "peer")]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_measured_part(page: str, part: str) -> str:
    """Return a page with what is between its marks replaced."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert begin, f"the page has no {BEGIN}"
    assert end, f"the page has no {END}"
    return f"{head}{BEGIN}\n{part}\n{END}{tail}"


def _row(figure: Mapping[str, Any]) -> str:
    unit, targets = figure["unit"], " and ".join(figure["targets"])
    met = ("yes" if figure["met"] else "**missed**") if targets else "-"
    return (
        f"| {figure['name']} | {_value(figure['ours'], unit)} | {_value(figure['peer'], unit)}: {figure['peer_name']}"
        f" | {figure['ratio']:.2f} | {targets or '-'} | {met} |"
    )


def _value(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"
