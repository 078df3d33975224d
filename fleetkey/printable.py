"""One escaping for text that somebody else chose, before a person's terminal gets it.

A terminal obeys what it is shown: control characters move its cursor, change its title or answer as if somebody typed,
and format characters turn the direction of what follows around or show nothing at all. So whatever prints, prints
through this, also into a pipe, which ends at a terminal as a rule.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PrintableFormatter", "guard_tracebacks", "printable", "printable_json", "printable_lines"]

SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
ESCAPE_LETTERS = frozenset("\\nrtxuU")
"""What makes an escape of a backslash before it."""
LAST_ASCII = 0x7F
LAST_OF_FOUR_DIGITS = 0xFFFF
RAW_BYTES = range(0xDC80, 0xDD00)
"""Where Python's `surrogateescape` puts bytes that are no text (PEP 383)."""
NOT_ASCII_PRINTABLE = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    r"""Return a text on one line in which nothing but letters, marks, symbols and single spaces is left as it was.

    Everything that Unicode calls a control, format, surrogate, private or unassigned character, or a separator other
    than the space, is shown as `\n`, `\x1b`, `\u202e` or `\U000e0041`; a byte that is no text as `\xff`. No two texts
    look the same by that: a backslash that would make an escape of what is behind it is doubled.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        _escape(one) if not one.isprintable() or (one == "\\" and _makes_escape(after)) else one
        for one, after in zip(text, [*text[1:], ""], strict=True)
    )


def printable_lines(text: str, *, indent: str = "") -> str:
    """Return a text of several lines, each of them printable."""
    return "\n".join(indent + printable(line) for line in text.split("\n"))


def printable_json(text: str) -> str:
    r"""Return the same JSON with what `printable` would escape as `\u…` (RFC 8259, 7); it is on one line."""
    if text.isprintable():
        return text
    # Whatever isn't printable can only be within a string.
    return NOT_ASCII_PRINTABLE.sub(
        lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text
    )


def guard_tracebacks() -> None:
    """Let Python print what nobody caught, in this and in other threads, printable; what others put there stays."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _show_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _show_uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _show_unraisable


class PrintableFormatter(logging.Formatter):
    """Formats records of the standard library's logging; a record's further lines, of a traceback, are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's text."""
        first, *others = super().format(record).split("\n")
        return "\n".join([printable(first), *(printable_lines(line, indent="    ") for line in others)])


def _makes_escape(after: str) -> bool:
    return after in ESCAPE_LETTERS or not after.isprintable()


def _escape(character: str) -> str:
    if short := SHORT_ESCAPES.get(character):
        return short
    number = ord(character)
    if number in RAW_BYTES:
        return f"\\x{number - 0xDC00:02x}"
    if number <= LAST_ASCII:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= LAST_OF_FOUR_DIGITS else f"\\U{number:08x}"


def _show(
    kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None, what: str
) -> None:
    said = "".join(traceback.format_exception(kind, error, where)).rstrip("\n")
    if sys.stderr is not None:
        sys.stderr.write(printable_lines(what + said) + "\n")


def _show_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    _show(kind, error, where, "")


def _show_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:
        name = failed.thread.name if failed.thread is not None else "unknown"
        _show(failed.exc_type, failed.exc_value, failed.exc_traceback, f"Exception in thread {printable(name)}:\n")


def _show_unraisable(failed: sys.UnraisableHookArgs) -> None:
    what = f"{failed.err_msg or 'Exception ignored in'}: {printable(repr(failed.object))}\n"
    _show(failed.exc_type, failed.exc_value, failed.exc_traceback, what)
