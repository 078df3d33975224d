"""Printing for people and for scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["print_json", "print_list", "print_one"]


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
    """Print rows as they come, so that a fleet of any size takes no memory.

    Args:
        rows: what to print; JSON shows every field.
        columns: field names and widths for people.
        as_json: one JSON array.
    """
    if as_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(row))
            separator = ","
        print("]" if separator == "," else "[]")
        return
    header = "  ".join(f"{name:<{width}}" for name, width in columns).rstrip()
    is_first = True
    for row in rows:
        if is_first:
            print(header)
            is_first = False
        print("  ".join(f"{_text(row[name]):<{width}}" for name, width in columns).rstrip())
    if is_first:
        print("(none)")


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, dict):
        return (
            ", ".join(f"{name}={_text(inner)}" for name, inner in value.items() if inner not in (None, [], ())) or "-"
        )
    if isinstance(value, list | tuple):
        return " ".join(_text(inner) for inner in value) or "-"
    return str(value)
