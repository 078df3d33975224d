"""The run's ledger: every secret that a test obtained, and everything in which none of them may be found.

All processes of a run append to files in one folder, so it works under xdist. The folder's name is in the environment;
`open_ledger` makes it, once, in the controlling process.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["VARIABLE", "Ledger", "open_ledger", "the_ledger"]

VARIABLE = "FK_TESTS_LEDGER"
# The look-ahead finds a secret inside a longer run of digits as well.
SECRET_SHAPE = re.compile(rb"(?=([0-9a-f]{64}))")


@dataclass(frozen=True, slots=True)
class Ledger:
    """A folder with the run's secrets and with what has to be searched for them."""

    folder: Path

    def note_secret(self, secret: str) -> None:
        """Remember a secret that the product gave away on purpose."""
        self._append("secrets", secret)

    def watch_file(self, path: Path) -> None:
        """Search a log when the run ends."""
        self._append("files", str(path))

    def watch_database(self, path: Path) -> None:
        """Search every row of a registry when the run ends."""
        self._append("databases", str(path))

    def note_text(self, text: str) -> None:
        """Search a refusal's body, an error line or a command line when the run ends."""
        self._append("texts", text.replace("\n", " "))

    def leaks(self) -> list[str]:
        """Return where secrets were found, one line each; the lines don't repeat them."""
        secrets = {line.encode() for line in self._lines("secrets")}
        found = [_leak("recorded answers and command lines", self._content("texts"), secrets)]
        found += [_leak(path, _read(Path(path)), secrets) for path in dict.fromkeys(self._lines("files"))]
        found += [_leak(path, _dump(Path(path)), secrets) for path in dict.fromkeys(self._lines("databases"))]
        return [line for line in found if line]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder)

    def _append(self, name: str, line: str) -> None:
        data = f"{line}\n".encode(errors="backslashreplace")
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # One write each: lines of several processes don't get mixed up.
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _content(self, name: str) -> bytes:
        return _read(self.folder / name)

    def _lines(self, name: str) -> list[str]:
        return self._content(name).decode(errors="backslashreplace").splitlines()


def open_ledger() -> Ledger:
    """Make the run's folder and tell this process's children of it."""
    folder = Path(tempfile.mkdtemp(prefix="fleetkey-tests-"))
    os.environ[VARIABLE] = str(folder)
    return Ledger(folder)


def the_ledger() -> Ledger:
    """Return the ledger of this run."""
    return Ledger(Path(os.environ[VARIABLE]))


def _leak(where: str, data: bytes, secrets: set[bytes]) -> str:
    count = len(secrets.intersection(SECRET_SHAPE.findall(data)))
    return f"{count} secret(s) in {where}" if count else ""


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _dump(path: Path) -> bytes:
    if not path.exists():
        return b""
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()).encode()
