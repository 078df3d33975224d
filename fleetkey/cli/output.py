"""Printing for people and for scripts."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["print_json", "print_list", "print_one"]

MAX_MEASURED_ROWS = 200
"""Rows of a list that are looked at before the first is printed."""


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(value), flush=True)


def print_one(fields: dict[str, Any], *, as_json: bool) -> None:
    """Print one thing: JSON, or a line a field."""
    if as_json:
        print_json(fields)
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_text(value)}")


def print_list(rows: Iterable[dict[str, Any]], columns: Sequence[tuple[str, int]], *, as_json: bool) -> None:
    """Print rows almost as they come, so that a fleet of any size takes little memory.

    The first `MAX_MEASURED_ROWS` say how wide a column is; what is longer behind them shifts its line.

    Args:
        rows: what to print; JSON shows every field.
        columns: field names and least widths for people.
        as_json: one JSON array.
    """
    if as_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(row))
            separator = ","
        print("]" if separator == "," else "[]")
        return
    lines = ([_text(row[name]) for name, _ in columns] for row in rows)
    first = list(itertools.islice(lines, MAX_MEASURED_ROWS))
    if not first:
        print("(none)")
        return
    names = [name for name, _ in columns]
    widths = [max(len(name), least) for name, least in columns]
    widths = [max(width, *(len(cells[at]) for cells in first)) for at, width in enumerate(widths)]
    for cells in itertools.chain([names], first, lines):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def _text(value: object, separator: str = ", ") -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        said = (f"{name}={_text(inner, ' ')}" for name, inner in value.items() if inner not in (None, [], (), {}))
        return separator.join(said) or "-"
    if isinstance(value, list | tuple):
        return " ".join(_text(inner) for inner in value) or "-"
    text = str(value)
    # Whatever it is and wherever it came from: it moves nobody's cursor.
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
