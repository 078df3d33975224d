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
def test_foreign_file(bare_fleetkey: CommandLine, command: tuple[str, ...], make: Callable[[Path], None]) -> None:
    """A file of something else is named and left as it was, byte for byte, with nothing beside it."""
    bare_fleetkey.data_dir.mkdir()
    make(bare_fleetkey.database)
    before = bare_fleetkey.database.read_bytes()
    ended = cli(*command, data_dir=bare_fleetkey.data_dir, folder=bare_fleetkey.folder)
    assert (ended.status, ended.out) == (1, "")
    assert str(bare_fleetkey.database) in ended.error
    assert bare_fleetkey.database.read_bytes() == before
    assert [path.name for path in bare_fleetkey.data_dir.iterdir()] == ["fleetkey.db"]


def test_folder_is_a_file(bare_fleetkey: CommandLine) -> None:
    """A data folder that can't be made is named, with what to do."""
    bare_fleetkey.data_dir.write_text("in the way")
    said = bare_fleetkey.error("serials", "list")
    assert str(bare_fleetkey.data_dir) in said
    assert "--data-dir" in said


def test_folder_below_a_file(bare_fleetkey: CommandLine) -> None:
    """`serve`, too, says so instead of starting."""
    bare_fleetkey.data_dir.write_text("in the way")
    ended = cli(
        "serve", "--http", ANY, "--mqtt", ANY, data_dir=bare_fleetkey.data_dir / "deeper", folder=bare_fleetkey.folder
    )
    assert (ended.status, ended.out) == (1, "")
    assert "--data-dir" in ended.error


@pytest.mark.parametrize(
    "words",
    [
        ("serials", "list"),
        ("serials", "remove", "SN-1"),
        ("devices", "list"),
        ("devices", "disable", "0" * 24),
        ("keys", "list"),
        ("keys", "revoke", "0" * 32),
        ("audit",),
        ("audit", "export", "audit.csv"),
        ("tokens", "list"),
        ("webhooks", "list"),
        ("backup", "fleet.tar"),
    ],
    ids=" ".join,
)
def test_no_registry(bare_fleetkey: CommandLine, words: tuple[str, ...]) -> None:
    """Where there is none, nobody is shown an empty fleet for theirs, and nothing is made."""
    said = bare_fleetkey.error(*words)
    assert said.startswith(f"there is no registry at {bare_fleetkey.database}")
    assert list(bare_fleetkey.folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("serials", "add", "SN-1"),
        ("keys", "create", "--application", "a", "--all-devices"),
        ("tokens", "create", "--name", "a", "--role", "viewer"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_first_registry(bare_fleetkey: CommandLine, words: tuple[str, ...]) -> None:
    """What puts something into a registry may make it, and says so."""
    for expected in (f"fleetkey: created a new registry: {bare_fleetkey.database}\n", ""):
        assert bare_fleetkey(*words, "--data-dir", bare_fleetkey.data_dir).err == expected
