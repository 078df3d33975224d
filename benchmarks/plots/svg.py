"""A line chart as SVG: nothing but what the docs need, so that nothing has to be installed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Point", "Series", "line_chart"]

WIDTH, HEIGHT = 640, 340
LEGEND_WIDTH = 130
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 66, 50
TICKS = 5
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .quiet { fill: #59636e }
  .grid { stroke: #d1d9e0 }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A median, and the lowest and the highest of its rounds."""

    x: float
    y: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line."""

    label: str
    colour: str
    dashes: str
    points: Sequence[Point]


def line_chart(title: str, x_label: str, series: Sequence[Series]) -> str:
    """Return a chart with a logarithmic x axis and a y axis from 0; a bar through a point spans its rounds."""
    xs = sorted({point.x for line in series for point in line.points})
    step = _nice_step(max(point.highest for line in series for point in line.points))
    frame = _Frame(low=xs[0], high=xs[-1], top=step * TICKS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
    ]
    for number in range(TICKS + 1):
        y = frame.y(number * step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{number * step:,g}", "end"))
    parts.extend(_text(frame.x(x), HEIGHT - BOTTOM + 20, f"{x:,g}", "middle") for x in xs)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"))
    for number, line in enumerate(series):
        x = LEFT + number * LEGEND_WIDTH
        parts.append(_path(line, f"{x},44 {x + 28},44"))
        parts.append(f'<text x="{x + 35}" y="48">{escape(line.label)}</text>')
        parts += _line(line, frame)
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    low: float
    high: float
    top: float

    def x(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return LEFT + 20 + share * (WIDTH - LEFT - RIGHT - 40)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def _nice_step(highest: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten with which `TICKS` steps reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest / TICKS))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * TICKS >= highest)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="quiet" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _path(line: Series, corners: str) -> str:
    stroke = f'stroke="{line.colour}" stroke-width="2.5" stroke-dasharray="{line.dashes}"'
    return f'<polyline points="{corners}" fill="none" {stroke}/>'


def _line(line: Series, frame: _Frame) -> list[str]:
    parts = [_path(line, " ".join(f"{frame.x(point.x):.1f},{frame.y(point.y):.1f}" for point in line.points))]
    for point in line.points:
        x, low, high = frame.x(point.x), frame.y(point.lowest), frame.y(point.highest)
        span = f'x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"'
        parts.append(f'<line {span} stroke="{line.colour}" opacity="0.5"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{frame.y(point.y):.1f}" r="4" fill="{line.colour}"/>')
    return parts
