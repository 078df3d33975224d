"""Other processes, and a registry of this one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest

from fleetkey.registry import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Child:
    """A process that does what it is told to registries."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._input = cast("IO[str]", process.stdin)
        self._output = cast("IO[str]", process.stdout)
        self.answer()

    def ask(self, verb: str, path: Path, argument: str) -> None:
        """Have it do something; it answers when that is done."""
        self._input.write(f"{verb}\t{path}\t{argument}\n")
        self._input.flush()

    def answer(self) -> str:
        """Wait for its next answer."""
        return self._output.readline().rstrip("\n")

    def do(self, verb: str, path: Path, argument: str) -> str:
        """Have it do something and wait."""
        self.ask(verb, path, argument)
        return self.answer()


@pytest.fixture
def make_child() -> Iterator[Callable[[], Child]]:
    """Start processes that end with the test."""
    with ExitStack() as stack:

        def start() -> Child:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("store_child.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            return Child(process)

        yield start


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty registry, with little patience."""
    with closing(SqliteStore(tmp_path / "fleetkey.db", busy_timeout_seconds=5)) as opened:
        yield opened
