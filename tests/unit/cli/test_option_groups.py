"""Options that several commands take are declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from fleetkey.cli.option_groups import with_option_groups

TAKEN: list[tuple[str, Group, bool]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Two options."""

    where: Annotated[str | None, typer.Option("--where", help="Where.")] = None
    number: Annotated[int, typer.Option("--number", help="How many.")] = 7


@with_option_groups
def _command(
    name: Annotated[str, typer.Argument(metavar="NAME")], group: Group, *, last: Annotated[bool, typer.Option()] = False
) -> None:
    """Do it."""
    TAKEN.append((name, group, last))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], ("a", Group(), False)),
        (["--last", "a", "--number", "3"], ("a", Group(number=3), True)),
        (["a", "--where", "here"], ("a", Group(where="here"), False)),
    ],
)
def test_group_is_handed_over(words: list[str], expected: tuple[str, Group, bool]) -> None:
    """A command gets its group with what was said, and the defaults of what wasn't."""
    app = typer.Typer()
    app.command()(_command)
    TAKEN.clear()
    app(words, standalone_mode=False)
    assert [expected] == TAKEN


def test_group_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """A group's options are in the help where the group is among the parameters."""
    app = typer.Typer()
    app.command()(_command)
    app(["--help"], standalone_mode=False)
    said = capsys.readouterr().out
    assert 0 < said.index("--where") < said.index("--number") < said.index("--last")
    assert "group" not in said
