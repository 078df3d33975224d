"""The commands in the documentation are the commands in the code."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from fleetkey.cli import app
from fleetkey.device.__main__ import _check, _parser
from tests.unit.docs.docs_pages import DOCS, PAGES, command_lines, page_id, section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = DOCS / "reference/cli.md"
DEVICE = "python -m fleetkey.device"
MIN_COMMANDS = 40


def _walk(command: Any = None, name: str = "fleetkey") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    groups = getattr(command, "commands", {})
    if not groups or name == "fleetkey" or getattr(command, "invoke_without_command", False):
        yield name, command
    for part, inner in groups.items():
        yield from _walk(inner, f"{name} {part}")


COMMANDS = dict(_walk())


def _names_option(text: str, option: str) -> bool:
    return re.search(rf"`{re.escape(option)}(?![\w-])", text) is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_command_in_the_reference(name: str) -> None:
    """Every command has a section that names each of its options."""
    text = section(PAGE, f"`{name}`")
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert _names_option(text, option), f"{option} is not in the section of {name}"


def test_commands_of_the_reference() -> None:
    """The reference names no command that isn't there."""
    headings = re.findall(r"^## `(fleetkey[^`]*)`$", PAGE.read_text(), re.MULTILINE)
    assert set(headings) == set(COMMANDS)


def test_options_of_the_reference() -> None:
    """The reference names no option in a command's section that the command doesn't have."""
    for name, command in COMMANDS.items():
        has = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        table = [line for line in section(PAGE, f"`{name}`").splitlines() if line.startswith("| `-")]
        named = {option for line in table for option in re.findall(r"`(--?[a-z-]+)", line.split("|")[1])}
        assert named <= has | {"--help", "-h"}, name


def test_options_of_the_device() -> None:
    """The reference names every option of the reference device."""
    text = section(PAGE, f"`{DEVICE}`")
    for action in _parser()._actions:
        for option in action.option_strings:
            assert _names_option(text, option) or option in {"-h", "--help"}, option


def _fleetkey_arguments(page: Path) -> list[list[str]]:
    """Return what follows `fleetkey` wherever a page calls it."""
    found = []
    for words in command_lines(page):
        for position, word in enumerate(words):
            rest = words[position + 1 :]
            if PurePath(word).name == "fleetkey" and rest and (rest[0].startswith("-") or _is_command(rest[0])):
                found.append(rest)
                break
    return found


def _is_command(word: str) -> bool:
    return any(name.split()[1:2] == [word] for name in COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_a_page(page: Path) -> None:
    """Every `fleetkey …` in a page's code parses: the command, its options, their values."""
    for arguments in _fleetkey_arguments(page):
        depth = max(size for size in range(3) if f"fleetkey {' '.join(arguments[:size])}".strip() in COMMANDS)
        name = f"fleetkey {' '.join(arguments[:depth])}"
        assert depth, f"{arguments} names no command"
        with COMMANDS[name].make_context(name, list(arguments[depth:])):
            pass


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_device_commands_in_a_page(page: Path) -> None:
    """Every `python -m fleetkey.device …` in a page's code parses, and its options go together."""
    module = ["-m", "fleetkey.device"]
    for words in command_lines(page):
        if PurePath(words[0]).name == "python" and words[1:3] == module:
            parser = _parser()
            _check(parser, parser.parse_args(words[3:]))


def test_commands_are_found_in_the_pages() -> None:
    """The tests above have something to look at."""
    assert sum(len(_fleetkey_arguments(page)) for page in PAGES) >= MIN_COMMANDS
