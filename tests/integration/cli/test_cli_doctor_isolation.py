"""What `fleetkey doctor` and `fleetkey serve` say of topic patterns that don't isolate devices from each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine

FREE = "[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n[topics]\n"
ALL = "publish = ['all/#']\nsubscribe = ['all/#']\n"
SITE = "publish = ['site/{tag:site}/{device_id}/#']\nsubscribe = ['site/{tag:site}/#']\n"


def _sharing(fleetkey: CommandLine, topics: str) -> list[dict[str, Any]]:
    """Return what doctor says about it."""
    (fleetkey.folder / "fleetkey.toml").write_text(FREE + topics)
    return [one for one in fleetkey.json("doctor") if one["check"] == "topic sharing"]


def test_two_devices_are_named(fleetkey: CommandLine) -> None:
    """Two devices that would hear each other, and impersonate each other, are named with the pattern."""
    (one, _), (other, _) = fleetkey.device("SN-1"), fleetkey.device("SN-2")
    heard, impersonated = _sharing(fleetkey, ALL)
    for finding in (heard, impersonated):
        assert finding["verdict"] == "warning"
        assert all(said in finding["detail"] for said in (one, other, "SN-1", "SN-2", "all/#"))
        assert "shared = true" in finding["advice"]
    assert "receives" in heard["detail"]
    assert "in the name of" in impersonated["detail"]


@pytest.mark.parametrize("devices", [0, 1])
def test_before_there_are_two_devices(fleetkey: CommandLine, devices: int) -> None:
    """Without two devices to name, doctor says that any two would."""
    for _ in range(devices):
        fleetkey.device()
    heard, impersonated = _sharing(fleetkey, ALL)
    assert heard["detail"].startswith("any two devices hear each other")
    assert impersonated["detail"].startswith("any device can publish in the name of another")


def test_devices_with_the_same_tag(fleetkey: CommandLine) -> None:
    """Only devices of the same site are named; a disabled one isn't, because it can't connect."""
    (fleetkey.folder / "fleetkey.toml").write_text(FREE)
    ids = {site: fleetkey.device(f"SN-{site}")[0] for site in ("a", "b", "c", "d")}
    for name, device_id in ids.items():
        fleetkey.text("devices", "tag", device_id, f"site={'north' if name in 'bd' else name}")
    (found,) = _sharing(fleetkey, SITE)
    assert ids["b"] in found["detail"]
    assert ids["d"] in found["detail"]
    fleetkey.text("devices", "disable", ids["d"])
    (found,) = _sharing(fleetkey, SITE)
    assert found["detail"].startswith("any two devices with the same site hear each other")


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        ("", []),
        ("subscribe = ['devices/{device_id}/#', 'announcements/+']", ["receive announcements/+; none can publish"]),
        (ALL + "shared = true", ["meant to"]),
        ("[profiles.gateway]\nsubscribe = ['devices/#']\nshared = true", ["meant to"]),
    ],
    ids=["isolated", "broadcast", "meant", "meant_by_profile"],
)
def test_nothing_to_warn_of(fleetkey: CommandLine, topics: str, said: list[str]) -> None:
    """Isolated devices, topics that only back ends write to, and sharing that is meant are ok."""
    found = _sharing(fleetkey, topics)
    assert [one["verdict"] for one in found] == ["ok"] * len(said)
    assert all(words in one["detail"] for words, one in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("topics", "heard", "impersonated", "meaning"),
    [
        (SITE, ["site/{tag:site}/{device_id}/# -> site/{tag:site}/#"], [], "send each other commands"),
        ("publish = ['all/#']\n", [], ["all/#"], "publish in another's name"),
        (ALL + "shared = true", None, None, None),
        ("", None, None, None),
    ],
    ids=["heard", "impersonated", "meant", "isolated"],
)
def test_serve_says_it_once(
    tmp_path: Path, topics: str, heard: list[str] | None, impersonated: list[str] | None, meaning: str | None
) -> None:
    """At start, one line names the patterns, what follows and what to do; none if it is meant."""
    with ServerProcess(tmp_path / "server", settings=FREE + topics) as server:
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if line["event"] == "topics_shared"]
    if meaning is None:
        assert not found
        return
    (line,) = found
    assert (line["level"], line["heard"], line["impersonated"]) == ("warning", heard, impersonated)
    assert meaning in line["meaning"]
    assert "[topics] shared = true" in line["advice"]
