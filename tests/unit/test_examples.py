"""The programs in `examples/`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command_line import REPOSITORY, clean_environment

PROGRAMS = sorted((REPOSITORY / "examples").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_help(program: object) -> None:
    """`--help` says what a program does and takes; without arguments it says what is missing."""
    command = [sys.executable, str(program)]
    ended = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, timeout=60, check=False, env=clean_environment()
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("usage: ")
    assert "credentials" in ended.stdout
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=clean_environment())
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
