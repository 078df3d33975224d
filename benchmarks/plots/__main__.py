"""`python -m benchmarks.plots RESULT.json [FOLDER]`: draw the broker's pictures and fill in its page's tables.

RESULT.json is what `python -m benchmarks broker --json` printed; FOLDER is the page's, `docs/explanation` by default.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.plots.curves import CURVES, SIZES, Curve, curve_figure_name
from benchmarks.plots.svg import Point, Series, line_chart
from benchmarks.plots.tables import measured_part, with_measured_part

__all__: list[str] = []

PAGE = "broker-performance.md"
SIDES = (("ours", "Fleetkey", "#0969da", ""), ("peer", "mosquitto", "#bc4c00", "6 4"))


def _main() -> None:
    result = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("docs/explanation")
    figures = {figure["name"]: figure for figure in result["figures"]}
    for curve in CURVES:
        picture = folder / "img" / curve.file
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(_picture(curve, figures))
        print(picture)
    page = folder / PAGE
    page.write_text(with_measured_part(page.read_text(), measured_part(result)))
    print(page)


def _picture(curve: Curve, figures: dict[str, Any]) -> str:
    series = [
        Series(
            label=label,
            colour=colour,
            dashes=dashes,
            points=[_point(figures[curve_figure_name(curve, size)], size, side) for size in SIZES],
        )
        for side, label, colour, dashes in SIDES
    ]
    return line_chart(curve.title, "devices connected and subscribed", series)


def _point(figure: dict[str, Any], size: int, side: str) -> Point:
    rounds = figure[f"{side}_rounds"]
    return Point(x=size, y=figure[side], lowest=min(rounds), highest=max(rounds))


if __name__ == "__main__":
    _main()
