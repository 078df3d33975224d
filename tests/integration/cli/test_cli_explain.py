"""`fleetkey explain` for people: what it prints, how it ends, and what it keeps following."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from fleetkey.registry import Presence, RefusalIncrement, RefusalListener, RefusalReason, RefusalStage
from tests.support.command_line import clean_environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

AT = 1_700_000_000_000


def refused(**changes: Any) -> RefusalIncrement:
    """Return a refused login."""
    values: dict[str, Any] = {
        "stage": RefusalStage.CONNECT,
        "reason": RefusalReason.WRONG_SECRET,
        "count": 1,
        "first_at": AT,
        "last_at": AT,
        "listener": RefusalListener.MQTT,
        "address": "192.0.2.1",
        "claimant": "address:192.0.2.1",
    }
    return RefusalIncrement(**{**values, **changes})


def test_explain_text(fleetkey: CommandLine) -> None:
    """The story is in words, with what to do and the command; each line fits, and is one line."""
    device_id, key = fleetkey.device("SN-1")
    with fleetkey.store() as store:
        store.add_refusals([refused(key=key, client_id="odd\\n", count=3, last_at=AT + 60_000)])
    text = fleetkey.text("explain", "SN-1")
    lines = text.splitlines()
    assert lines[0] == f"device {device_id}, serial SN-1"
    at = lines.index("2023-11-14T22:14:20.000Z  REFUSED  connect: wrong_secret, 3 times since")
    assert lines[at + 1 : at + 5] == [
        "  2023-11-14T22:13:20.000Z",
        f"  from 192.0.2.1 (mqtt), claimed, not proven: device {device_id},",
        f"    key {key}, client id odd\\\\n",
        "  Why: The password isn't the key's secret. Who connected proved nothing.",
    ]
    assert f"    fleetkey keys show {key}" in lines
    assert "+ The device is active." in lines
    assert "- The serial is not on the allow-list, so it can't register." in lines
    assert "    fleetkey serials add SN-1" in lines
    assert all(len(line) <= 80 for line in lines)


def test_explain_nothing(fleetkey: CommandLine) -> None:
    """A fleet without refusals says so."""
    assert fleetkey.text("explain") == "the last refusals of all\n\nNo refusals.\n"


def test_explain_unknown(fleetkey: CommandLine) -> None:
    """It says what would be in force, and fails with a sentence."""
    for more in ([], ["--json"]):
        found = fleetkey("explain", "SN-9", "--data-dir", fleetkey.data_dir, *more, status=1)
        assert "not on the allow-list" in found.out
        assert "nothing is known about 'SN-9'" in found.error


def test_explain_topic_text(fleetkey: CommandLine) -> None:
    """The decision, the pattern and where it is from; and that the device can't connect at present."""
    device_id, _ = fleetkey.device("SN-1")
    own = f"devices/{device_id}/#"
    assert fleetkey.text("explain", "--device", device_id, "--will", f"devices/{device_id}/x").splitlines() == [
        f"May device {device_id} have its will at",
        f"  devices/{device_id}/x?",
        f"Yes: the pattern {own} matches the topic.",
        "The pattern is from devices/{device_id}/# of [topics] in the settings.",
    ]
    fleetkey.text("devices", "disable", device_id)
    assert fleetkey.text("explain", "--device", device_id, "--subscribe", "#").splitlines()[1:] == [
        "No: no pattern covers every topic that the filter can match.",
        "Its patterns are from [topics] in the settings:",
        f"  {own}",
        "At present it can't connect at all: the device is disabled.",
        f"    fleetkey devices enable {device_id}",
    ]


def test_explain_follow(fleetkey: CommandLine) -> None:
    """What is new is printed as it comes, one JSON object a line; Ctrl-C ends it cleanly."""
    _, key = fleetkey.device("SN-1")
    out, errors = fleetkey.folder / "out.txt", fleetkey.folder / "errors.txt"
    command = [sys.executable, "-m", "fleetkey", "explain", key, "-f", "--json", "--data-dir", str(fleetkey.data_dir)]
    with out.open("wb") as to, errors.open("wb") as complaints:
        following = subprocess.Popen(command, stdout=to, stderr=complaints, env=clean_environment())
    try:
        assert eventually(lambda: len(out.read_text().splitlines()) == 1)
        with fleetkey.store() as store:
            for count in (2, 3):
                store.add_refusals([refused(key=key)])
                assert eventually(lambda count=count: len(out.read_text().splitlines()) == count)  # type: ignore[misc]
    finally:
        following.send_signal(2)
        status = following.wait(10)
    assert (status, errors.read_text()) == (0, "")
    _, *counts = (json.loads(line)["refusal"] for line in out.read_text().splitlines())
    assert [refusal["count"] for refusal in counts] == [1, 2]


def test_show_last_events(fleetkey: CommandLine) -> None:
    """A device and a key each have their own last refusal and success; another client's claim is neither."""
    device_id, key = fleetkey.device("SN-1")
    _, other = fleetkey.device("SN-2")
    with fleetkey.store() as store:
        store.add_refusals(
            [
                refused(key=key, client_id=device_id),
                refused(key=other, client_id=device_id, reason=RefusalReason.WRONG_CLIENT_ID, last_at=AT + 1),
            ]
        )
        store.record_presence({device_id: Presence(connected_at=AT, disconnected_at=AT + 1, reason="closed")})
    for words in (("devices", "show", device_id), ("keys", "show", key)):
        shown = fleetkey.json(*words)
        assert shown["last_refusal"]["result"] == "wrong_secret"
        text = fleetkey.text(*words)
        assert "last_refusal" in text
        assert "2023-11-14T22:13:20.000Z connect: wrong_secret" in text
    assert fleetkey.json("devices", "show", device_id)["last_success"]["result"] == "registered: created"


def test_keys_list_reach(fleetkey: CommandLine) -> None:
    """Each key says what it reaches, in a few words."""
    device_id, _ = fleetkey.device("SN-1")
    for scope in (
        ["--all-devices"],
        ["--device", device_id, "--publish", "a/b"],
        ["--tag", "site=north", "--tag", "line=3", "--subscribe", "c/#", "--subscribe", "d"],
    ):
        fleetkey.json("keys", "create", "--application", "app", *scope)
    text = fleetkey.text("keys", "list", "--applications")
    for reach in ("all devices", f"device {device_id}; publish a/b", "tag site=north,line=3; subscribe c/# d"):
        assert reach in text
    assert device_id in fleetkey.text("keys", "list", "--device", device_id)
