"""A data folder that isn't ours, or can't be: exit status 1, one sentence, and it is left as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine

ANY = "127.0.0.1:0"


def _no_database(path: Path) -> None:
    path.write_bytes(b"a letter to somebody\n" * 50)


def _database_of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE letters (text)")
        connection.commit()


def _application_of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id=7")
        connection.execute("VACUUM")


@pytest.mark.parametrize(
    "command", [("serials", "add", "SN-1"), ("serve", "--http", ANY, "--mqtt", ANY)], ids=["add", "serve"]
)
@pytest.mark.parametrize("make", [_no_database, _database_of_others, _application_of_others])
def test_foreign_file(fleetkey: CommandLine, command: tuple[str, ...], make: Callable[[Path], None]) -> None:
    """A file of something else is named and left as it was, byte for byte, with nothing beside it."""
    fleetkey.data_dir.mkdir()
    make(fleetkey.database)
    before = fleetkey.database.read_bytes()
    ended = cli(*command, data_dir=fleetkey.data_dir, folder=fleetkey.folder)
    assert (ended.status, ended.out) == (1, "")
    assert str(fleetkey.database) in ended.error
    assert fleetkey.database.read_bytes() == before
    assert [path.name for path in fleetkey.data_dir.iterdir()] == ["fleetkey.db"]


def test_folder_is_a_file(fleetkey: CommandLine) -> None:
    """A data folder that can't be made is named, with what to do."""
    fleetkey.data_dir.write_text("in the way")
    said = fleetkey.error("serials", "list")
    assert str(fleetkey.data_dir) in said
    assert "--data-dir" in said


def test_folder_below_a_file(fleetkey: CommandLine) -> None:
    """`serve`, too, says so instead of starting."""
    fleetkey.data_dir.write_text("in the way")
    ended = cli("serve", "--http", ANY, "--mqtt", ANY, data_dir=fleetkey.data_dir / "deeper", folder=fleetkey.folder)
    assert (ended.status, ended.out) == (1, "")
    assert "--data-dir" in ended.error
