"""Running `fleetkey …` in this process, where a process of its own would make no difference."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
import typer.main

from fleetkey.cli import main
from tests.support.command_line import Finished
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["run_here"]

get_command = cache(typer.main.get_command)
"""Builds the tree of commands once: it is the same for each run, and most of what a short one costs."""


def run_here(words: Iterable[str | Path], patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> Finished:
    """Run a command in this process, however it ends; what it says on standard error is searched for secrets."""
    output.readouterr()
    patch.setattr(sys, "argv", ["fleetkey", *map(str, words)])
    patch.setattr(typer.main, "get_command", get_command)
    with pytest.raises(SystemExit) as ended:
        main()
    printed = output.readouterr()
    the_ledger().note_text(printed.err)
    return Finished(int(ended.value.code or 0), printed.out, printed.err)
