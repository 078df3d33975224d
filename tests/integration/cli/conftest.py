"""A command line on a registry with nothing in it, or on none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.cli.cli_rig import CommandLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bare_fleetkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Give a test the commands, in a folder without a registry."""
    for name in [name for name in os.environ if name.upper().startswith("FLEETKEY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    for module in ("serve", "demo"):
        # It would bind the log of this whole process to a stream that ends with the test.
        monkeypatch.setattr(f"fleetkey.cli.commands.{module}.configure_logs", lambda _settings: None)
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def fleetkey(bare_fleetkey: CommandLine) -> CommandLine:
    """Give a test a registry of its own, with nothing in it, and the commands for it."""
    with bare_fleetkey.store():
        return bare_fleetkey
