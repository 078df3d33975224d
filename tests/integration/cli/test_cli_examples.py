"""Every command's help shows how it is typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.cli.test_cli_help import COMMANDS

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


GROUPS = ("", "serials", "devices", "keys", "tokens", "webhooks", "tls")


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_group_shows_examples(fleetkey: CommandLine, group: str) -> None:
    """A group shows some of its commands as one would type them, a line each; its list of commands doesn't."""
    said = fleetkey(*group.split(), "--help").out
    described = said.partition("╭")[0]
    assert re.search(rf"^ +Examples?: *\n\s*\n +• fleetkey {group}", described, re.MULTILINE), described
    assert "Example" not in said.partition("╭")[2]


@pytest.mark.parametrize("command", ["devices list", "audit", "serials import", "keys rotate"])
def test_help_shows_examples_in_lines(fleetkey: CommandLine, command: str) -> None:
    """Several examples are a line each."""
    said = fleetkey(*command.split(), "--help").out
    assert re.search(rf"Examples: *\n\s*\n( +• .*fleetkey {command}.*\n){{2,}}\s*\n", said), said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_example(fleetkey: CommandLine, command: str) -> None:
    """After the word Example there is the command as one would type it."""
    said = fleetkey(*command.split(), "--help").out
    described = said.partition("╭")[0]
    assert re.search(rf"Examples?:.*\bfleetkey {command}\b", described, re.DOTALL), described
