"""Commands that change many devices: what they would do, what they ask, and what they say of each device."""

from __future__ import annotations

import json
import os
import pty
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.command_line import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cli.cli_rig import CommandLine

COMMANDS = {
    "approved": ("devices", "approve"),
    "rejected": ("devices", "reject"),
    "disabled": ("devices", "disable"),
    "enabled": ("devices", "enable"),
    "tagged": ("devices", "tag", "line=3"),
    "rotated": ("keys", "rotate"),
    "deleted": ("devices", "delete"),
}
MANY = 11


def _state_of(fleetkey: CommandLine) -> object:
    return [fleetkey.json(*words) for words in (("devices", "list"), ("keys", "list", "--all"), ("audit",))]


def _mixed_fleet(fleetkey: CommandLine) -> list[str]:
    """Make two devices that each command can change, and return all of them."""
    ids = [fleetkey.device(f"SN-{number}", is_pending=number < 2)[0] for number in range(6)]
    fleetkey.json("devices", "disable", *ids[4:])
    return ids


@pytest.mark.parametrize("done", COMMANDS)
@pytest.mark.parametrize("how", ["named", "matching"])
def test_dry_run(fleetkey: CommandLine, done: str, how: str) -> None:
    """It changes nothing, and says exactly what the command then does."""
    ids = _mixed_fleet(fleetkey)
    which = ids if how == "named" else ["--serial-pattern", "SN-.*"]
    before = _state_of(fleetkey)
    tried = fleetkey.json(*COMMANDS[done], *which, "--dry-run")
    said = fleetkey.text(*COMMANDS[done], *which, "--dry-run")
    assert _state_of(fleetkey) == before
    assert tried["dry_run"] is True
    assert said.startswith(f"would be {done}: {tried[done]}, ")
    would_be = [one["device_id"] for one in tried["devices"] if one["outcome"] == "changed"]
    assert len(would_be) == tried[done] > 0
    assert all(device_id in said for device_id in would_be)
    finished = fleetkey.run([*COMMANDS[done], *which, "--yes", "--data-dir", fleetkey.data_dir, "--json"])
    assert finished.status == (1 if tried["refused"] else 0)
    assert [finished.json[name] for name in (done, "unchanged", "refused")] == [
        tried[name] for name in (done, "unchanged", "refused")
    ]
    changed = {one["device_id"]: one for one in fleetkey.json("devices", "list")}
    for device_id in would_be:
        assert changed.get(device_id) not in (*before[0],) or done == "rotated"  # type: ignore[index]


def test_dry_run_of_one(fleetkey: CommandLine) -> None:
    """One named device can be tried as well, also for deletion, which then needs no --yes."""
    device_id, _ = fleetkey.device()
    for done, words in COMMANDS.items():
        tried = fleetkey.json(*words, device_id, "--dry-run")
        assert tried[done] == (1 if done in {"disabled", "tagged", "rotated", "deleted"} else 0)
    assert fleetkey.json("devices", "show", device_id)["state"] == "active"


def test_first_ones_only(fleetkey: CommandLine) -> None:
    """Of many, ten are named and the rest is counted."""
    for number in range(MANY + 1):
        fleetkey.device(f"SN-{number}")
    said = fleetkey.text("devices", "disable", "--serial-pattern", ".*", "--dry-run").splitlines()
    assert said[0] == "would be disabled: 12, 0 unchanged; nothing was changed"
    assert len(said) == 12
    assert said[-1] == "  and 2 more"


def test_mixture_of_states(fleetkey: CommandLine) -> None:
    """What can be approved is, what is already stays, and what can't be makes the command fail after the others."""
    pending, active, disabled, _, _, _ = (
        ids := [fleetkey.device(f"SN-{number}", is_pending=number != 2)[0] for number in range(6)]
    )
    fleetkey.json("devices", "approve", active)
    fleetkey.json("devices", "disable", disabled)
    finished = fleetkey("devices", "approve", *ids, "--data-dir", fleetkey.data_dir, status=1)
    assert finished.out.splitlines() == [
        "approved 4, 1 unchanged, 1 refused",
        f"  {active} (SN-1) is active already",
        f"  {disabled} (SN-2) is disabled, can't be approved",
    ]
    assert finished.error.endswith(f"see: fleetkey devices enable {disabled}; 4 approved")
    assert fleetkey.json("devices", "show", pending)["state"] == "active"
    assert fleetkey.json("devices", "show", disabled)["state"] == "disabled"
    again = fleetkey.run(["devices", "reject", *ids[:2], "--json", "--data-dir", fleetkey.data_dir])
    assert (again.status, again.json["rejected"], again.json["refused"]) == (1, 0, 2)
    assert "and 1 more" in json.loads(again.error)["error"]


@contextmanager
def _terminal(answer: str) -> Iterator[int]:
    """Give a terminal on which somebody has already typed an answer."""
    controller, terminal = pty.openpty()
    try:
        os.write(controller, answer.encode())
        yield terminal
    finally:
        os.close(terminal)
        os.close(controller)


def _at_terminal(fleetkey: CommandLine, *words: str, answer: str) -> tuple[int, str]:
    """Run a command at a terminal, except for its output; return its status and its output."""
    with TemporaryFile() as out, _terminal(answer) as terminal:
        ended = fork_server.start(
            [*words, "--data-dir", str(fleetkey.data_dir)],
            stdin=terminal,
            stdout=out.fileno(),
            stderr=terminal,
            environment=clean_environment(),
            folder=fleetkey.folder,
        )
        status = ended.wait(60)
        out.seek(0)
        return status, out.read().decode()


@pytest.mark.parametrize(("answer", "is_done"), [("y\n", True), ("n\n", False), ("\n", False)])
@pytest.mark.parametrize("done", ["disabled", "deleted", "rotated"])
def test_question(fleetkey: CommandLine, done: str, answer: str, *, is_done: bool) -> None:
    """On a terminal, more than ten devices are changed only after a yes."""
    for number in range(MANY):
        fleetkey.device(f"SN-{number}")
    before = fleetkey.json("audit")
    status, out = _at_terminal(fleetkey, *COMMANDS[done], "--serial-pattern", ".*", answer=answer)
    if is_done:
        assert (status, out) == (0, f"{done} 11, 0 unchanged\n")
    else:
        assert (status, out) == (1, "")
        assert fleetkey.json("audit") == before


def test_no_question(fleetkey: CommandLine) -> None:
    """Nobody is asked about ten devices, with --yes, or without a terminal; deletion needs --yes then."""
    for number in range(MANY):
        fleetkey.device(f"SN-{number}")
    few, all_of_them = ("--serial-pattern", "SN-[0-9]"), ("--serial-pattern", ".*")
    assert _at_terminal(fleetkey, "devices", "disable", *few, answer="") == (0, "disabled 10, 0 unchanged\n")
    assert _at_terminal(fleetkey, "devices", "enable", *few, answer="") == (0, "enabled 10, 0 unchanged\n")
    assert _at_terminal(fleetkey, "devices", "disable", *all_of_them, "--yes", answer="")[0] == 0
    assert fleetkey.text("devices", "enable", *all_of_them) == "enabled 11, 0 unchanged\n"
    assert "--dry-run, then add --yes" in fleetkey.error("devices", "delete", *all_of_them, status=2)
    assert _at_terminal(fleetkey, "devices", "delete", "--serial-pattern", "SN-1", answer="n\n")[0] == 1
    assert len(fleetkey.json("devices", "list")) == MANY
