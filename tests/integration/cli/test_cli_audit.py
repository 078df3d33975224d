"""`fleetkey audit`: who did what."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.command_line import clean_environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


def test_audit(fleetkey: CommandLine) -> None:
    """Every change that a command made is there, oldest first, with who made it."""
    assert fleetkey.json("audit") == []
    fleetkey.json("serials", "add", "SN-1")
    device_id, key = fleetkey.device("SN-1")
    fleetkey.json("devices", "disable", device_id)
    fleetkey.json("keys", "revoke", key)
    entries = fleetkey.json("audit")
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)
    of_commands = [entry for entry in entries if entry["actor"].startswith("cli")]
    assert [entry["outcome"] for entry in of_commands] == ["ok"] * 3
    assert of_commands[1]["device_id"] == device_id
    assert of_commands[2]["key"] == key
    said = fleetkey.text("audit")
    assert said.count("\n") == len(entries) + 1


def test_audit_limit(fleetkey: CommandLine) -> None:
    """`--limit` keeps the newest."""
    for number in range(4):
        fleetkey.json("serials", "add", f"SN-{number}")
    everything = fleetkey.json("audit")
    assert fleetkey.json("audit", "--limit", "2") == everything[-2:]
    assert fleetkey.json("audit", "--limit", "0") == []


def test_audit_follow(fleetkey: CommandLine) -> None:
    """What another process adds is printed as it comes, one JSON object a line; Ctrl-C ends it cleanly."""
    fleetkey.json("serials", "add", "SN-old")
    out, errors = fleetkey.folder / "out.txt", fleetkey.folder / "errors.txt"
    command = [sys.executable, "-m", "fleetkey", "audit", "--follow", "--json", "--data-dir", str(fleetkey.data_dir)]
    with out.open("wb") as to, errors.open("wb") as complaints:
        following = subprocess.Popen(command, stdout=to, stderr=complaints, env=clean_environment())
    try:
        assert eventually(lambda: len(out.read_text().splitlines()) == 1)
        fleetkey.json("serials", "remove", "SN-old")
        assert eventually(lambda: len(out.read_text().splitlines()) == 2, 3)
    finally:
        following.send_signal(2)
        status = following.wait(10)
    assert status == 0
    assert errors.read_text() == ""
    old, new = (json.loads(line) for line in out.read_text().splitlines())
    assert old["seq"] < new["seq"]
    assert new["serial"] == "SN-old"
