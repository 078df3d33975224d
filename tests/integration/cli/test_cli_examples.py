"""Every command's help shows how it is typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.cli.test_cli_help import COMMANDS

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_example(fleetkey: CommandLine, command: str) -> None:
    """After the word Example there is the command as one would type it."""
    said = fleetkey(*command.split(), "--help").out
    described = said.partition("╭")[0]
    assert re.search(rf"Examples?:.*\bfleetkey {command}\b", described, re.DOTALL), described
