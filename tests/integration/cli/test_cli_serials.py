"""`fleetkey serials`: the allow-list from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import cli

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

BAD_LINES = {
    "space_before": (b"SN-1\n SN-2\n", 2),
    "space_after": (b"SN-1\nSN-2\nSN-3 \n", 3),
    "not_printable": (b"SN-1\nSN\x00-2\n", 2),
    "not_utf8": (b"SN-1\n\nSN-\xff\n", 3),
    "too_long": (b"SN-1\n" + b"x" * 129 + b"\n", 2),
    "far_too_long": (b"x" * 10_000 + b"\n", 1),
    "last_without_newline": (b"SN-1\nSN-2\n\tSN-3", 3),
}


def test_add(fleetkey: CommandLine) -> None:
    """What is new and what was known is counted, for people and for scripts."""
    assert fleetkey.json("serials", "add", "SN-2", "SN-1") == {"added": 2, "known": 0, "replaced": 0}
    assert fleetkey.json("serials", "add", "SN-2", "SN-3") == {"added": 1, "known": 1, "replaced": 0}
    assert fleetkey.text("serials", "add", "SN-3") == "added 0, 1 already listed\n"


def test_add_one_that_is_none(fleetkey: CommandLine) -> None:
    """All of them or none."""
    fleetkey.error("serials", "add", "SN-1", "SN-2 ", status=2)
    assert fleetkey.json("serials", "list") == []


def test_list(fleetkey: CommandLine) -> None:
    """In order, one a line; JSON is one array, also of none."""
    assert fleetkey.json("serials", "list") == []
    assert fleetkey.text("serials", "list") == ""
    fleetkey.json("serials", "add", "SN-2", "SN-1", 'a "quoted" one')
    assert fleetkey.json("serials", "list") == ["SN-1", "SN-2", 'a "quoted" one']
    assert fleetkey.text("serials", "list") == 'SN-1\nSN-2\na "quoted" one\n'


def test_remove(fleetkey: CommandLine) -> None:
    """It is gone, and the second time there is none."""
    fleetkey.json("serials", "add", "SN-1", "SN-2")
    assert fleetkey.json("serials", "remove", "SN-1") == {"removed": "SN-1"}
    assert fleetkey.json("serials", "list") == ["SN-2"]
    assert "SN-1" in fleetkey.error("serials", "remove", "SN-1")


def test_import_file(fleetkey: CommandLine) -> None:
    """One serial a line: empty lines, DOS line ends and a byte order mark are passed over, repetitions counted once."""
    file = fleetkey.folder / "serials.txt"
    file.write_bytes(b"\xef\xbb\xbfSN-1\r\n\r\nSN-2\r\nSN-1\r\nSN-\xc3\xbc")
    said = fleetkey.json("serials", "import", file)
    assert said["added"] == 3
    assert fleetkey.json("serials", "list") == ["SN-1", "SN-2", "SN-ü"]


def test_import_standard_input(fleetkey: CommandLine) -> None:
    """`-` reads a pipe."""
    ended = cli("serials", "import", "-", "--json", data_dir=fleetkey.data_dir, stdin=b"SN-2\nSN-1\n")
    assert (ended.status, ended.json) == (0, {"added": 2, "known": 0, "replaced": 0})
    assert fleetkey.json("serials", "list") == ["SN-1", "SN-2"]


@pytest.mark.parametrize("name", BAD_LINES)
def test_import_bad_line(fleetkey: CommandLine, name: str) -> None:
    """The file and the line are named, and nothing is imported."""
    content, line = BAD_LINES[name]
    file = fleetkey.folder / "serials.txt"
    file.write_bytes(content)
    said = fleetkey.error("serials", "import", file)
    assert f"{file}, line {line}:" in said
    assert "nothing was imported" in said
    assert fleetkey.json("serials", "list") == []


def test_import_bad_line_of_many(fleetkey: CommandLine) -> None:
    """Nothing is imported, however late the bad line comes."""
    file = fleetkey.folder / "serials.txt"
    file.write_text("".join(f"SN-{number}\n" for number in range(30_000)) + " bad\n")
    assert "line 30001:" in fleetkey.error("serials", "import", file)
    assert fleetkey.json("serials", "list") == []
