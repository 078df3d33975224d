"""Escaping of untrusted text for terminals.

A terminal interprets what it is sent: control characters move its cursor, change its title or simulate input, and
format characters reverse the direction of text or are invisible. So everything that is printed goes through this
module, even into a pipe, which usually ends at a terminal.
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
"""What turns a backslash before it into an escape."""
LAST_ASCII = 0x7F
LAST_OF_FOUR_DIGITS = 0xFFFF
RAW_BYTES = range(0xDC80, 0xDD00)
"""The code points that Python's `surrogateescape` uses for undecodable bytes (PEP 383)."""
NOT_ASCII_PRINTABLE = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    r"""Return a text on one line, with everything escaped except letters, marks, symbols and single spaces.

    Control, format, surrogate, private and unassigned characters, and separators other than the space, are shown as
    `\n`, `\x1b`, `\u202e` or `\U000e0041`; an undecodable byte as `\xff`. The result is unambiguous: a backslash that
    would look like the start of an escape is doubled.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        _escape(one) if not one.isprintable() or (one == "\\" and _makes_escape(after)) else one
        for one, after in zip(text, [*text[1:], ""], strict=True)
    )


def printable_lines(text: str, *, indent: str = "") -> str:
    """Return a text of several lines with each line escaped."""
    return "\n".join(indent + printable(line) for line in text.split("\n"))


def printable_json(text: str) -> str:
    r"""Return the same JSON, on one line, with whatever `printable` would escape as `\u…` (RFC 8259, 7)."""
    if text.isprintable():
        return text
    # Characters that aren't printable can only be inside a string.
    return NOT_ASCII_PRINTABLE.sub(
        lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text
    )


def guard_tracebacks() -> None:
    """Make Python escape uncaught exceptions, in all threads; hooks installed by others are kept."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _show_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _show_uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _show_unraisable


class PrintableFormatter(logging.Formatter):
    """Formats and escapes log records of the standard library; further lines, such as tracebacks, are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
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
