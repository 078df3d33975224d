"""`fleetkey audit`: who did what."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from fleetkey.registry import AuditEntry, StoreUnavailableError
from tests.support.command_line import clean_environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import pytest

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
    header, *lines = fleetkey.text("audit").splitlines()
    assert len(lines) == len(entries)
    for column, line, value in (("key", lines[-1], key), ("device_id", lines[2], device_id)):
        start = header.index(f"  {column}") + 2
        assert line[start : start + len(value)] == value


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


def _fill(fleetkey: CommandLine) -> list[dict[str, object]]:
    with fleetkey.store() as store:
        for number in range(1_200):
            refused = number % 10 == 0
            store.record(
                AuditEntry(
                    actor="device",
                    action="register",
                    outcome="refused" if refused else "ok",
                    serial='=SUM("x",1);=2' if refused else f"SN-{number}",
                    address="192.0.2.1",
                )
            )
    found: list[dict[str, object]] = fleetkey.json("audit", "--limit", "5000")
    return found


def test_audit_filters(fleetkey: CommandLine) -> None:
    """Filters choose, also over the newest; a time that is none and an end before its beginning are refused."""
    everything = _fill(fleetkey)
    refused = fleetkey.json("audit", "--outcome", "refused", "--limit", "5")
    assert [entry["seq"] for entry in refused] == [1151, 1161, 1171, 1181, 1191]
    assert fleetkey.json("audit", "--serial", "SN-7") == [entry for entry in everything if entry["serial"] == "SN-7"]
    assert fleetkey.json("audit", "--actor", "cli") == []
    assert len(fleetkey.json("audit", "--since", "1h", "--limit", "2000")) == 1_200
    assert fleetkey.json("audit", "--until", "1h") == []
    assert "yesterday" in fleetkey.error("audit", "--since", "yesterday", status=2)
    assert "since" in fleetkey.error("audit", "--since", "1h", "--until", "2h", status=2)
    assert "--follow" in fleetkey.error("audit", "--follow", "--until", "2h", status=2)
    assert len(fleetkey.json("audit", "--address", "192.0.2.1", "--action", "register", "--limit", "2000")) == 1_200


def test_audit_filters_that_match_nothing(fleetkey: CommandLine) -> None:
    """A word that no entry has is refused, not answered as if nothing had happened."""
    for words in (["audit"], ["audit", "export", "-"]):
        said = fleetkey.error(*words, "--action", "nosuch", status=2)
        assert "'nosuch' is not one of register, " in said
        assert "'nosuch' is not one of ok, refused, pending" in fleetkey.error(*words, "--outcome", "nosuch", status=2)
        assert "'here' is not an IP address" in fleetkey.error(*words, "--address", "here", status=2)
    assert "device_described" in fleetkey("audit", "--help").out


def test_audit_export_jsonl(fleetkey: CommandLine) -> None:
    """Every entry is there once, in order, as `audit --json` has it; the file is its owner's and never overwritten."""
    everything = _fill(fleetkey)
    file = fleetkey.folder / "audit.jsonl"
    assert fleetkey.json("audit", "export", file)["exported"] == 1_200
    assert [json.loads(line) for line in file.read_text().splitlines()] == everything
    assert file.stat().st_mode & 0o777 == 0o600
    assert "already exists" in fleetkey.error("audit", "export", file)
    said = fleetkey.error("audit", "export", "nowhere/x.csv")
    assert "can't write nowhere/x.csv: there is no directory nowhere; create it first" in said
    assert len(file.read_text().splitlines()) == 1_200
    some = fleetkey.text("audit", "export", "-", "--outcome", "refused", "--since", "1d")
    assert len(some.splitlines()) == 120


def test_audit_export_csv(fleetkey: CommandLine) -> None:
    """CSV has a header and every field; what a spreadsheet would compute is kept from it."""
    _fill(fleetkey)
    file = fleetkey.folder / "audit.csv"
    assert fleetkey.json("audit", "export", file, "--outcome", "refused") == {
        "exported": 120,
        "file": str(file),
        "format": "csv",
    }
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["serial"] for row in rows} == {"'=SUM(\"x\",1);'=2"}
    assert rows[0]["seq"] == "1"
    assert rows[0]["key"] == ""


def test_audit_export_stopped(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that fails in the middle leaves no file that could pass for a whole one."""
    _fill(fleetkey)
    file = fleetkey.folder / "audit.jsonl"

    def broken(record: object) -> dict[str, object]:
        raise StoreUnavailableError(str(type(record)))

    monkeypatch.setattr("fleetkey.cli.commands.audit_export.as_fields", broken)
    fleetkey.error("audit", "export", file)
    assert not file.exists()


def test_audit_moves_no_cursor(fleetkey: CommandLine) -> None:
    """What isn't printable is written out for a terminal; JSON escapes it anyway."""
    with fleetkey.store() as store:
        store.record(AuditEntry(actor="device", action="register", outcome="ok", reason="\x9b31m\x1b[2J", address="-"))
    assert "\\u009b31m\\x1b[2J" in fleetkey.text("audit")
