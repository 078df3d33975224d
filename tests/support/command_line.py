"""Running `python -m fleetkey …` as a user would."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from tests.support import fork_server
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REPOSITORY", "Finished", "clean_environment", "cli"]

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with `--json`."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line with which it failed; asserts that it is one, and no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert "Traceback" not in self.err
        assert len(lines) == 1, self.err
        return lines[0]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without anyone's Fleetkey settings."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("FLEETKEY_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **(extra or {})}


def cli(
    *arguments: str | Path,
    data_dir: Path | None = None,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 60,
) -> Finished:
    """Run a command to its end; what it says on standard error is searched for secrets when the run ends."""
    command = [*map(str, arguments)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin if stdin is not None else b"")
        given.seek(0)
        ended = fork_server.start(
            command,
            stdin=given.fileno(),
            stdout=out.fileno(),
            stderr=err.fileno(),
            environment=clean_environment(environment),
            folder=folder or Path.home(),
        )
        try:
            status = ended.wait(seconds)
        except subprocess.TimeoutExpired:
            ended.kill()
            raise
        out.seek(0)
        err.seek(0)
        finished = Finished(status, out.read().decode(), err.read().decode())
    the_ledger().note_text(finished.err)
    return finished
