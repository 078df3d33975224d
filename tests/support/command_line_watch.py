"""What `ps` shows to everyone on the machine, sampled while something runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from tests.support.ledger import the_ledger

__all__ = ["CommandLineWatch"]

SAMPLE_SECONDS = 0.05


class CommandLineWatch:
    """Notes every process's command line in the ledger, which is searched for secrets when the run ends."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        ledger = the_ledger()
        while True:
            for line in _command_lines() - self.seen:
                self.seen.add(line)
                ledger.note_text(line)
            if self._stop.wait(SAMPLE_SECONDS):
                return


def _command_lines() -> set[str]:
    lines = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines
