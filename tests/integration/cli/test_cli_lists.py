"""Lists for people: that they are empty, that they fit the terminal, and which serials they have."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.command_line import clean_environment

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

EMPTY = {
    ("devices", "list"): "No devices.",
    ("devices", "list", "--state", "pending"): "No devices match.",
    ("devices", "list", "--offline"): "No devices match.",
    ("keys", "list"): "No keys.",
    ("keys", "list", "--applications"): "No keys match.",
    ("tokens", "list"): "No tokens.",
    ("webhooks", "list"): "No webhooks.",
    ("audit",): "No entries.",
    ("audit", "--action", "register"): "No entries match.",
    ("serials", "list", "--details"): "No serials.",
    ("serials", "list", "--details", "--unused"): "No serials match.",
}


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_empty_list(fleetkey: CommandLine, words: tuple[str, ...]) -> None:
    """It says so, and whether something was asked for that nothing matches; for scripts it is an empty array."""
    assert fleetkey.text(*words) == f"{EMPTY[words]}\n"
    assert fleetkey.json(*words) == []


def test_empty_list_of_lines(fleetkey: CommandLine) -> None:
    """Where a script reads a line for each serial, no line is one that isn't."""
    for words, said in ((("serials", "list"), "No serials."), (("serials", "list", "--used"), "No serials match.")):
        finished = fleetkey(*words, "--data-dir", fleetkey.data_dir)
        assert (finished.out, finished.err) == ("", f"{said}\n")


def test_serials_by_use_and_pattern(fleetkey: CommandLine) -> None:
    """Those that a device has registered with, those that none has, and those of a pattern."""
    fleetkey.text("serials", "add", "SN-1", "SN-2", "TEST-1", "TEST-2")
    fleetkey.device("SN-1")
    fleetkey.device("TEST-2")

    def found(*options: str) -> list[str]:
        listed: list[str] = fleetkey.json("serials", "list", *options)
        assert fleetkey.text("serials", "list", *options).split() == listed
        assert [one["serial"] for one in fleetkey.json("serials", "list", "--details", *options)] == listed
        return listed

    assert found("--used") == ["SN-1", "TEST-2"]
    assert found("--unused") == ["SN-2", "TEST-1"]
    assert found("--serial-pattern", "SN-.*") == ["SN-1", "SN-2"]
    assert found("--serial-pattern", "TEST-.*", "--unused") == ["TEST-1"]
    assert "exclude each other" in fleetkey.error("serials", "list", "--used", "--unused", status=2)
    assert "serial pattern" in fleetkey.error("serials", "list", "--serial-pattern", "(", status=2)


def _on_terminal(fleetkey: CommandLine, columns: int, *words: str) -> list[str]:
    """Run a command whose output is a terminal, and return its lines."""
    controller, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {name: value for name, value in clean_environment().items() if name != "COLUMNS"}
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is all that is needed
            ended = fork_server.start(
                [*words, "--data-dir", str(fleetkey.data_dir)],
                stdin=nothing.fileno(),
                stdout=terminal,
                stderr=terminal,
                environment=environment,
                folder=fleetkey.folder,
            )
            assert ended.wait(60) == 0
        return os.read(controller, 65_536).decode().splitlines()
    finally:
        os.close(terminal)
        os.close(controller)


@pytest.mark.parametrize("words", [("devices", "list"), ("keys", "list"), ("audit",)], ids=" ".join)
def test_list_on_a_terminal(fleetkey: CommandLine, words: tuple[str, ...]) -> None:
    """Its lines fit 80 columns, with long values shortened; a wider terminal and a pipe get them whole."""
    device_id, key = fleetkey.device("SN-" + "0123456789" * 4)
    fleetkey.text("devices", "tag", device_id, "site=somewhere-far-in-the-north")
    fleetkey.text("devices", "describe", device_id, "--name", "A pump with a rather long name")
    narrow = _on_terminal(fleetkey, 80, *words)
    assert max(map(len, narrow)) <= 80
    assert any("…" in line for line in narrow)
    if words[0] != "audit":
        assert any((device_id if words[0] == "devices" else key) in line for line in narrow)
    wide = _on_terminal(fleetkey, 1000, *words)
    piped = fleetkey.text(*words).splitlines()
    assert "…" not in "".join([*wide, *piped])
    assert [line.split() for line in wide] == [line.split() for line in piped]
