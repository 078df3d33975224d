"""Writing the audit log to a file, one line per entry, in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TextIO

from fleetkey.cli.errors import CommandError
from fleetkey.cli.output import as_fields
from fleetkey.cli.progress import counting
from fleetkey.management.schemas import AuditAnswer
from fleetkey.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from fleetkey.registry import AuditFilter

__all__ = ["ExportFormat", "export_audit"]

FORMULA = re.compile(r"(^|[;\t\r\n|])(?=[=+\-@\t\r＝＋－＠])")  # noqa: RUF001 - some spreadsheets accept the full-width ones too
"""Where a spreadsheet may see the start of a formula, even if it splits cells at characters other than commas."""


class ExportFormat(StrEnum):
    """How entries are written."""

    JSONL = "jsonl"
    CSV = "csv"


class AuditSource(Protocol):
    """The audit log of this machine's registry, or of a remote server."""

    def iterate(
        self, wanted: AuditFilter, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[AuditAnswer]:
        """Yield all entries that match, oldest first."""
        ...


def export_audit(service: AuditSource, wanted: AuditFilter, file: Path, export_format: ExportFormat) -> int:
    """Write the entries that match and return their number. An incomplete file is removed.

    Raises:
        CommandError: the file already exists, or can't be written.
    """
    with _opened(file) as stream, counting("exporting", "entries") as on_progress:
        records = service.iterate(wanted, on_progress=on_progress)
        lines = _csv_lines(records) if export_format is ExportFormat.CSV else _json_lines(records)
        count = 0
        for count, line in lines:  # noqa: B007 - the last one is the result
            stream.write(line)
        return count


def _json_lines(records: Iterable[AuditAnswer]) -> Iterator[tuple[int, str]]:
    for number, record in enumerate(records, 1):
        yield number, json.dumps(as_fields(record)) + "\n"


def _csv_lines(records: Iterable[AuditAnswer]) -> Iterator[tuple[int, str]]:
    names = AuditAnswer.__struct_fields__
    yield 0, _csv_line(names)
    for number, record in enumerate(records, 1):
        fields = as_fields(record)
        yield number, _csv_line([_cell(fields[name]) for name in names])


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        # A refused serial is whatever a client sent. JSON lines keep it exactly, in ASCII.
        return FORMULA.sub(r"\1'", printable(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if str(file) == "-":
        yield sys.stdout
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        msg = f"{file} already exists and was left unchanged"
        raise CommandError(msg) from None
    except FileNotFoundError:
        msg = f"can't write {file}: there is no directory {file.parent}; create it first"
        raise CommandError(msg) from None
    except OSError as error:
        msg = f"can't write {file}: {error.strerror}"
        raise CommandError(msg) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            msg = f"can't write {file}: {error.strerror}"
            raise CommandError(msg) from None
        raise
