"""Files of serials: text with one serial per line, or CSV with a header."""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

from fleetkey.config.labels import LabelError, check_labels, check_name
from fleetkey.management.errors import SerialFileError
from fleetkey.registry import InvalidSerialError, ListedSerial, parse_serial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["SerialFormat", "read_serials"]

MAX_LINE_BYTES = 16 * 1024
MAX_SHOWN_ERRORS = 10
"""How many invalid lines are reported before reading stops."""
MAX_COLUMNS = 200
SEPARATORS = (",", ";", "\t")
"""Separators found in so-called CSV files; only the first is accepted."""
HEADER = "serial"
"""The required column of a CSV file. A text file whose first line is this is a CSV file with only this column."""
ADD_IT = "; to add a serial that begins like this, use `serials add`"
LOOKS_LIKE_CSV = (
    "this looks like CSV: name the file .csv or use --format csv (HTTP: text/csv);"
    " to add a serial that contains a comma, semicolon or tab, use `serials add`, or quote it in a CSV file"
)
TAG, ATTRIBUTE = "tag:", "attribute:"
PLAIN_COLUMNS = frozenset({"serial", "name", "profile"})


BINARY = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; save it as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save it as CSV",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"%PDF-": "a PDF document",
    b"SQLite format 3\x00": "an SQLite database",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
}
"""What a file with these first bytes is."""
MARKUP = re.compile(r"\s*<(?:!doctype|!--|\?xml|/?[a-z][a-z0-9:-]*[\s/>])", re.IGNORECASE)
JSON = re.compile(r'\s*(?:[\[{]\s*$|\[\s*[\["{]|\{\s*")')


class SerialFormat(StrEnum):
    """The format of a file of serials."""

    TEXT = "text"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class _LineError(Exception):
    reason: str
    is_fatal: bool = False
    """Nothing after this line can be parsed."""


def read_serials(
    stream: BinaryIO, serial_format: SerialFormat, *, profiles: Collection[str] = ()
) -> Iterator[tuple[int, ListedSerial | str]]:
    """Yield the entries of a UTF-8 file, each with its line number, in bounded memory.

    Text: one serial per line, without `SEPARATORS` in it; empty lines are ignored. CSV: a header with `serial` and
    any of `name`, `profile`, `tag:NAME` and `attribute:NAME`; an empty cell means no value.

    Args:
        stream: the file.
        serial_format: its format.
        profiles: the valid values of `profile`.

    Raises:
        SerialFileError: names up to `MAX_SHOWN_ERRORS` invalid lines, once it has found as many or has reached the
            end. The entries yielded before must then be discarded.
    """
    lines = _Lines(stream)
    entries = _csv(lines, profiles) if serial_format is SerialFormat.CSV else _text(lines)
    errors: list[tuple[int, str]] = []
    for entry in entries:
        if not isinstance(entry, _LineError):
            yield lines.number, entry
            continue
        errors.append((lines.number, entry.reason))
        if len(errors) == MAX_SHOWN_ERRORS or entry.is_fatal:
            raise SerialFileError(errors, has_more=not entry.is_fatal)
    if errors:
        raise SerialFileError(errors, has_more=False)


class _Lines:
    """The decoded lines of a stream, of bounded length; knows the number of the current line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._has_begun = False
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(MAX_LINE_BYTES + 1):
            self.number += 1
            if not self._has_begun and line.removeprefix(BOM_UTF8).strip():
                self._has_begun = True
                _refuse_others(line)
            if len(line) > MAX_LINE_BYTES:
                raise _LineError(f"longer than {MAX_LINE_BYTES} bytes", is_fatal=True)
            try:
                yield line.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise _LineError("not UTF-8", is_fatal=True) from None


def _refuse_others(line: bytes) -> None:
    """Refuse a file that is no list of serials by its first line, such as an error page in place of a download."""
    what = next((what for start, what in BINARY.items() if line.startswith(start)), None)
    text = line.decode("utf-8-sig", errors="replace")
    if what is None and b"\0" in line:
        what = "a binary file"
    elif what is None and MARKUP.match(text):
        what = f"HTML or XML, such as an error page instead of a download{ADD_IT}"
    elif what is None and JSON.match(text):
        what = f"JSON{ADD_IT}"
    if what is not None:
        raise _LineError(f"this is not a list of serials, but looks like {what}", is_fatal=True)


def _text(lines: _Lines) -> Iterator[str | _LineError]:
    try:
        for line in lines:
            text = line.rstrip("\r\n")
            if (lines.number == 1 and text.strip(' "') == HEADER) or any(mark in text for mark in SEPARATORS):
                # Report it once: the other lines will look the same.
                yield _LineError(LOOKS_LIKE_CSV, is_fatal=True)
                return
            if text:
                try:
                    serial = parse_serial(text)
                except InvalidSerialError as error:
                    yield _LineError(str(error))
                else:
                    yield serial
    except _LineError as error:
        yield error


def _csv(lines: _Lines, profiles: Collection[str]) -> Iterator[ListedSerial | _LineError]:
    rows = csv.reader(iter(lines), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            yield _LineError(
                "there is no header; the first line must name the columns, including serial", is_fatal=True
            )
            return
        columns = [cell.strip() for cell in header]
        _check_columns(columns)
        for cells in rows:
            if not any(cells):
                continue
            try:
                entry = _entry(columns, cells, profiles)
            except (_LineError, InvalidSerialError, LabelError) as error:
                yield error if isinstance(error, _LineError) else _LineError(str(error))
            else:
                yield entry
    except _LineError as error:
        yield error
    except csv.Error as error:
        yield _LineError(f"not valid CSV: {error}", is_fatal=True)


def _check_columns(columns: Sequence[str]) -> None:
    for separator in SEPARATORS[1:]:
        if len(columns) == 1 and "serial" in _cells(columns[0], separator):
            raise _LineError(f"the columns are separated by {separator!r}; use commas", is_fatal=True)
    if "serial" not in columns:
        reason = "the header of a CSV file must include a column serial"
        if len(columns) == 1 and not any(mark in columns[0] for mark in SEPARATORS):
            reason += "; for a list without a header use --format text"
        raise _LineError(reason, is_fatal=True)
    if len(columns) > MAX_COLUMNS:
        raise _LineError(f"{len(columns)} columns; at most {MAX_COLUMNS} are allowed", is_fatal=True)
    for column in columns:
        if column not in PLAIN_COLUMNS and not _label_of(column):
            reason = f"unknown column {column[:64]!r}; use serial, name, profile, tag:NAME and attribute:NAME"
            raise _LineError(reason, is_fatal=True)
        if columns.count(column) > 1:
            raise _LineError(f"the column {column[:64]!r} appears twice", is_fatal=True)


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a header that appears to have several; otherwise nothing."""
    cells = [cell.strip(' "') for cell in line.split(separator)]
    return cells if len(cells) > 1 else []


def _label_of(column: str) -> str:
    """Return the name in `tag:NAME` or `attribute:NAME`; empty for other columns."""
    for prefix in (TAG, ATTRIBUTE):
        if column.startswith(prefix):
            return column.removeprefix(prefix)
    return ""


def _entry(columns: Sequence[str], cells: Sequence[str], profiles: Collection[str]) -> ListedSerial:
    if len(cells) != len(columns):
        raise _LineError(f"{len(cells)} cells; the header has {len(columns)}")
    values = dict(zip(columns, cells, strict=True))
    profile = values.get("profile") or None
    if profile is not None and profile not in profiles:
        raise _LineError(f"there is no profile {profile[:64]!r} in the settings")
    return ListedSerial(
        serial=parse_serial(values["serial"]),
        name=check_name(values.get("name", "")),
        profile=profile,
        tags=check_labels(_labels(values, TAG), "tag"),
        attributes=check_labels(_labels(values, ATTRIBUTE), "attribute"),
    )


def _labels(values: dict[str, str], prefix: str) -> dict[str, str]:
    return {
        column.removeprefix(prefix): value for column, value in values.items() if column.startswith(prefix) and value
    }
