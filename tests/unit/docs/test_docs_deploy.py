"""The unit for systemd: it names what is there, and systemd takes it and finds it tight."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.unit.docs.docs_pages import DOCS, ROOT
from tests.unit.docs.test_docs_cli import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

UNIT = ROOT / "deploy/fleetkey.service"
MAX_EXPOSURE = 20
"""Of 100, as `systemd-analyze security` counts it."""


def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_unit_commands() -> None:
    """It starts a command that is there, with options that it has, and reloads by the signal that `serve` takes."""
    service = _unit()["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[0].endswith("/fleetkey")
    with COMMANDS["fleetkey serve"].make_context("fleetkey serve", words[2:]):
        pass
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillSignal"] == "SIGTERM"


def test_unit_paths_in_the_guide() -> None:
    """The guide names the paths and the user that the unit has."""
    guide, service = (DOCS / "how-to/production.md").read_text(), _unit()["Service"]
    for word in (f"/var/lib/{service['StateDirectory']}", f"/etc/{service['ConfigurationDirectory']}", "/opt/fleetkey"):
        assert word in guide
    # sudo looks for commands in few places, and the installation is in none of them.
    for command in re.findall(r"^\$ .*\bsudo -u \S+ (\S+)", guide, re.MULTILINE):
        assert command == service["ExecStart"].split()[0]
    assert re.search(rf"useradd .* {service['User']}$", guide, re.MULTILINE)


def test_unit_in_systemd(tmp_path: Path) -> None:
    """With systemd: it finds no fault with it, and little that the server could do beyond its work."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    # Nothing is installed on the machine of the tests.
    unit = tmp_path / "fleetkey.service"
    unit.write_text(UNIT.read_text().replace("/opt/fleetkey/.venv/bin/fleetkey", "/bin/true"))
    words = [
        [analyze, "verify", str(unit)],
        [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(unit)],
    ]
    for command in words:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if "Unknown" in ended.stderr or "unrecognized" in ended.stderr:
            pytest.skip("this systemd-analyze is too old")
        assert ended.returncode == 0, ended.stderr
