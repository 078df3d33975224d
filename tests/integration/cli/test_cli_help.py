"""The commands that are promised are there, with the options that every command takes, and say what they do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fleetkey import __version__

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

COMMANDS = (
    "serve",
    "demo",
    "serials add",
    "serials import",
    "serials list",
    "serials remove",
    "devices list",
    "devices show",
    "devices approve",
    "devices disable",
    "devices enable",
    "devices delete",
    "devices tag",
    "keys list",
    "keys create",
    "keys revoke",
    "keys rotate",
    "audit",
    "doctor",
)
OPTIONS = {
    "serve": {"--http", "--mqtt", "--sample"},
    "keys create": {"--application", "--all-devices", "--device", "--tag", "--publish", "--subscribe", "--save"},
    "audit": {"--follow"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_command(bare_fleetkey: CommandLine, command: str) -> None:
    """It says in a sentence what it does, takes the common options and its own, and touches no registry."""
    said = bare_fleetkey(*command.split(), "--help").out
    assert f"fleetkey {command}" in said
    assert re.search(r"^ [A-Z][^.:]+[.:]", said.partition("Usage")[2].partition("\n")[2], re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]+", said))
    assert {"--config", "--data-dir", "--json", "--help", *OPTIONS.get(command, ())} <= named
    assert list(bare_fleetkey.folder.iterdir()) == []


def test_help_of_everything(bare_fleetkey: CommandLine) -> None:
    """The program names its commands and groups."""
    said = bare_fleetkey("--help").out
    assert {command.split()[0] for command in COMMANDS} <= set(re.findall(r"[a-z]+", said))


def test_version(bare_fleetkey: CommandLine) -> None:
    """`--version` prints the version of the package."""
    assert bare_fleetkey("--version").out == f"fleetkey {__version__}\n"
