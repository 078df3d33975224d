"""Output for people and for scripts. Everything but log lines goes to standard output and error through here.

Text for people is escaped here, whoever chose it and wherever it goes: see `printable`. JSON is ASCII.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import textwrap
import traceback
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from fleetkey.cli.columns import GAP, fitted, shortened
from fleetkey.printable import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "as_fields",
    "ask",
    "is_interactive",
    "note",
    "print_broken",
    "print_failure",
    "print_json",
    "print_list",
    "print_one",
    "print_step",
    "say",
    "say_aside",
    "say_lines",
    "say_wrapped",
]

MAX_TEXT_WIDTH = 80
"""How wide text is that is made of sentences, also on a wider terminal."""
MAX_MEASURED_ROWS = 200
"""How many rows of a list are measured before the first is printed."""


def say(text: str, *, flush: bool = False) -> None:
    """Print one line for people."""
    _put(printable(text), flush=flush)


def say_wrapped(text: str, *, indent: str = "", rest: str = "") -> None:
    """Print text for people in lines of at most `MAX_TEXT_WIDTH` characters.

    Args:
        text: what to print.
        indent: what the first line begins with.
        rest: what the other lines begin with.
    """
    lines = textwrap.wrap(
        printable(text), MAX_TEXT_WIDTH, initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False
    )
    for line in lines:
        _put(line, flush=True)


def say_aside(text: str) -> None:
    """Print one line for people on standard error, apart from the output."""
    _put(printable(text), stream=sys.stderr)


def say_lines(text: str, *, flush: bool = False) -> None:
    """Print lines of our own text; no part of it that others chose may contain a line break."""
    _put(printable_lines(text), flush=flush)


def note(text: str, *, as_json: bool = False) -> None:
    """Print a note on standard error, as one line or as `{"note": …}`."""
    _put(json.dumps({"note": text}) if as_json else printable(f"fleetkey: {text}"), stream=sys.stderr)


def is_interactive() -> bool:
    """Whether somebody sits at a terminal and can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask on standard error, apart from the output; only `y` or `yes` is one."""
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def print_failure(message: str, *, as_json: bool) -> None:
    """Print on standard error why a command failed, as one line or as `{"error": …}`."""
    _put(json.dumps({"error": message}) if as_json else printable(f"fleetkey: {message}"), stream=sys.stderr)


def print_broken(error: BaseException) -> None:
    """Print the traceback of an unexpected error."""
    _put(printable_lines("".join(traceback.format_exception(error)).rstrip("\n")), stream=sys.stderr)


def print_step(title: str, detail: str, *, is_good: bool) -> None:
    """Print a step of the demo, with a mark."""
    from rich.console import Console  # noqa: PLC0415 - heavy; other commands do without
    from rich.text import Text  # noqa: PLC0415

    # Text objects, not markup: `[red]` in a value must be printed as it is.
    mark = Text("✓", style="green") if is_good else Text("✗", style="red")
    lines = Text.assemble(mark, " ", printable(title), "\n    ", (printable(detail), "dim"))
    Console(highlight=False).print(lines)


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    _put(json.dumps(value), flush=True)


def as_fields(shown: object) -> dict[str, Any]:
    """Return the fields of a schema's value."""
    fields: dict[str, Any] = msgspec.to_builtins(shown)
    return fields


def print_one(shown: object, *, as_json: bool) -> None:
    """Print one value of a schema, or a dictionary: as JSON, or one line per field."""
    fields = as_fields(shown)
    if as_json:
        print_json(fields)
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        _put(f"{name:<{width}}  {_text(value)}")


def print_list(rows: Iterable[Any], columns: Sequence[tuple[str, int]], *, nothing: str, as_json: bool) -> None:
    """Print rows as they arrive, so that a fleet of any size takes little memory.

    The first `MAX_MEASURED_ROWS` rows set the column widths; a longer value in a later row shifts the rest of its line.
    On a terminal, columns are narrowed to its width and longer values shortened; elsewhere all values are whole.

    Args:
        rows: values of a schema. With JSON every field is printed, and a row may be any value.
        columns: field names and minimum widths, for people.
        nothing: the sentence for people if there are no rows.
        as_json: print one JSON array.
    """
    if as_json:
        separator = "["
        for row in rows:
            _put(separator + json.dumps(as_fields(row)))
            separator = ","
        _put("]" if separator == "," else "[]")
        return
    lines = ([_text(row[name]) for name, _ in columns] for row in map(as_fields, rows))
    first = list(itertools.islice(lines, MAX_MEASURED_ROWS))
    if not first:
        say(nothing)
        return
    names = [name for name, _ in columns]
    on_terminal = sys.stdout.isatty()
    # A terminal has no room for columns that are wider than what is in them.
    widths = [max(len(name), 0 if on_terminal else least) for name, least in columns]
    widths = [max(width, *(len(cells[at]) for cells in first)) for at, width in enumerate(widths)]
    if on_terminal:
        widths = fitted(widths, shutil.get_terminal_size().columns)
    for cells in itertools.chain([names], first, lines):
        shown = [shortened(*pair) for pair in zip(cells, widths, strict=True)] if on_terminal else cells
        _put(GAP.join(f"{cell:<{width}}" for cell, width in zip(shown, widths, strict=True)).rstrip())


def _text(value: object, separator: str = ", ") -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        shown = ((printable(str(name)), inner) for name, inner in value.items() if inner not in (None, [], (), {}))
        said = (f"{name}={_text(inner, ' ')}" for name, inner in shown)
        return separator.join(said) or "-"
    if isinstance(value, list | tuple):
        return " ".join(_text(inner) for inner in value) or "-"
    return printable(str(value))


def _put(text: str, *, stream: TextIO | None = None, flush: bool = False) -> None:
    """Print text that is already escaped, or JSON."""
    print(text, file=stream, flush=flush)
