"""Which tests a run of the suite leaves out, and that those that need other programs never skip."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import pytest
def test_ordinary(): pass
@pytest.mark.soak
def test_long(): pass
@pytest.mark.servers
def test_program(): pass
@pytest.mark.servers
def test_program_missing(): pytest.skip("there is no such program")
"""


def _run(folder: Path, *arguments: str) -> str:
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    soak: long\n    servers: other programs\n")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout


@pytest.mark.parametrize(
    ("arguments", "counted"),
    [
        ((), "1 passed, 3 deselected"),
        (("-m", "servers"), "1 failed, 1 passed, 2 deselected"),
    ],
    ids=["suite", "servers"],
)
def test_marks(tmp_path: Path, arguments: tuple[str, ...], counted: str) -> None:
    """Long tests and those that need other programs run only when asked for; a missing program is a failure."""
    said = _run(tmp_path, *arguments)
    assert counted in said, said
    assert ("may not skip: Skipped: there is no such program" in said) == ("servers" in arguments), said
