"""`fleetkey devices`: looking at devices and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import Presence

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


def _state(fleetkey: CommandLine, device_id: str) -> str:
    state: str = fleetkey.json("devices", "show", device_id)["state"]
    return state


def test_list(fleetkey: CommandLine) -> None:
    """All of them, or those in a state or with tags; JSON is an array, also of none."""
    assert fleetkey.json("devices", "list") == []
    assert fleetkey.text("devices", "list") == "No devices.\n"
    first, second = fleetkey.device("SN-1")[0], fleetkey.device("SN-2", is_pending=True)[0]
    fleetkey.json("devices", "tag", first, "site=north", "line=3")
    assert [device["device_id"] for device in fleetkey.json("devices", "list")] == sorted((first, second))
    assert [device["serial"] for device in fleetkey.json("devices", "list", "--state", "pending")] == ["SN-2"]
    assert [device["serial"] for device in fleetkey.json("devices", "list", "--tag", "site=north")] == ["SN-1"]
    assert fleetkey.json("devices", "list", "--tag", "site=north", "--tag", "line=4") == []
    assert first in fleetkey.text("devices", "list")


def test_list_columns(fleetkey: CommandLine) -> None:
    """A value that is longer than its column's name widens the column for every line."""
    for serial in ("SN-" + "9" * 60, "SN-1"):
        device_id, _ = fleetkey.device(serial)
        fleetkey.json("devices", "describe", device_id, "--name", "Pump")
    header, *lines = fleetkey.text("devices", "list").splitlines()
    assert {line.index("Pump") for line in lines} == {header.index("name")}


def test_show(fleetkey: CommandLine) -> None:
    """One device with its keys, without any secret or hash."""
    device_id, key = fleetkey.device("SN-1")
    shown = fleetkey.json("devices", "show", device_id)
    assert (shown["device_id"], shown["serial"], shown["state"], shown["tags"]) == (device_id, "SN-1", "active", {})
    assert [(one["key"], one["status"]) for one in shown["keys"]] == [(key, "active")]
    assert "secret" not in str(shown)
    said = fleetkey.text("devices", "show", device_id)
    assert key in said
    assert "$2a$" not in said


def test_approve(fleetkey: CommandLine) -> None:
    """A pending device becomes active; one that is active stays so."""
    device_id, _ = fleetkey.device(is_pending=True)
    assert _state(fleetkey, device_id) == "pending"
    assert fleetkey.json("devices", "approve", device_id)["state"] == "active"
    assert fleetkey.json("devices", "approve", device_id)["state"] == "active"


def test_approve_disabled(fleetkey: CommandLine) -> None:
    """Approving is not enabling."""
    device_id, _ = fleetkey.device()
    fleetkey.json("devices", "disable", device_id)
    assert "devices enable" in fleetkey.error("devices", "approve", device_id)
    assert _state(fleetkey, device_id) == "disabled"


def test_disable_and_enable(fleetkey: CommandLine) -> None:
    """The state changes and the key stays."""
    device_id, key = fleetkey.device()
    assert fleetkey.json("devices", "disable", device_id)["state"] == "disabled"
    assert fleetkey.json("devices", "enable", device_id)["state"] == "active"
    assert [one["key"] for one in fleetkey.json("devices", "show", device_id)["keys"]] == [key]


def test_enable_pending(fleetkey: CommandLine) -> None:
    """Enabling is not approving."""
    device_id, _ = fleetkey.device(is_pending=True)
    assert "devices approve" in fleetkey.error("devices", "enable", device_id)
    assert _state(fleetkey, device_id) == "pending"


def test_delete(fleetkey: CommandLine) -> None:
    """The device is gone; its key is retired, not forgotten."""
    device_id, key = fleetkey.device()
    assert fleetkey.json("devices", "delete", device_id) == {"deleted": device_id}
    assert fleetkey.json("devices", "list") == []
    assert fleetkey.json("keys", "list") == []
    assert [(one["key"], one["status"]) for one in fleetkey.json("keys", "list", "--all")] == [(key, "retired")]
    assert device_id in fleetkey.error("devices", "delete", device_id)


def test_tag(fleetkey: CommandLine) -> None:
    """`NAME=VALUE` sets, `NAME=` takes away, and the others stay."""
    device_id, _ = fleetkey.device()
    assert fleetkey.json("devices", "tag", device_id, "site=north", "line=a=b")["tags"] == {
        "site": "north",
        "line": "a=b",
    }
    assert fleetkey.json("devices", "tag", device_id, "site=", "floor=2")["tags"] == {"line": "a=b", "floor": "2"}
    assert fleetkey.json("devices", "show", device_id)["tags"] == {"line": "a=b", "floor": "2"}


def test_tag_one_that_is_none(fleetkey: CommandLine) -> None:
    """All of them or none."""
    device_id, _ = fleetkey.device()
    assert "128" in fleetkey.error("devices", "tag", device_id, "site=north", "line=" + "x" * 129, status=2)
    assert fleetkey.json("devices", "show", device_id)["tags"] == {}


def test_online_without_a_server(fleetkey: CommandLine) -> None:
    """A server that was killed says of nobody that it is gone: who is shown as online is shown with a note."""
    device_id, _ = fleetkey.device()
    with fleetkey.store() as store:
        store.record_presence({device_id: Presence(is_online=True, connected_at=1, last_seen_at=1)})
    for words in (("list", "--online"), ("list",), ("show", device_id)):
        ended = fleetkey("devices", *words, "--data-dir", fleetkey.data_dir)
        assert device_id in ended.out
        assert "no server is running" in ended.err
    assert fleetkey("devices", "list", "--offline", "--data-dir", fleetkey.data_dir).err == ""


def test_list_sorted_limited_and_counted(fleetkey: CommandLine) -> None:
    """`--sort`, `--limit` and `--count`, with filters, for people and for scripts."""
    for serial in ("SN-2", "SN-1", "SN-3"):
        fleetkey.device(serial, is_pending=serial == "SN-3")

    def found(*options: str) -> list[str]:
        return [one["serial"] for one in fleetkey.json("devices", "list", *options)]

    assert found("--sort", "serial") == ["SN-1", "SN-2", "SN-3"]
    assert found("--sort", "created", "--limit", "1") == ["SN-3"]
    assert found("--sort", "serial", "--state", "active", "--serial-pattern", "SN-[2-9]") == ["SN-2"]
    assert found("--sort", "seen", "--serial", "SN-2") == ["SN-2"]
    assert found("--limit", "2") == found()[:2]
    assert fleetkey.json("devices", "list", "--count") == {"count": 3}
    assert fleetkey.text("devices", "list", "--count", "--state", "active") == "2\n"
    assert fleetkey.json("devices", "list", "--count", "--serial", "SN-9") == {"count": 0}
    assert "leave out --sort" in fleetkey.error("devices", "list", "--count", "--limit", "1", status=2)
    assert "at most 1000" in fleetkey.error("devices", "list", "--sort", "serial", "--limit", "1001", status=2)
    assert fleetkey.text("devices", "list", "--sort", "serial", "--limit", "1").count("SN-") == 1


def test_sorted_list_that_is_cut(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit of one's own, a sorted list says where it ends."""
    monkeypatch.setattr("fleetkey.cli.commands.devices.MAX_PAGE", 2)
    for serial in ("SN-1", "SN-2", "SN-3"):
        fleetkey.device(serial)
    cut = fleetkey("devices", "list", "--sort", "serial", "--data-dir", fleetkey.data_dir)
    assert cut.out.count("SN-") == 2
    assert cut.err == "fleetkey: only the first 2 devices are listed\n"
    assert not fleetkey("devices", "list", "--sort", "serial", "--limit", "1", "--data-dir", fleetkey.data_dir).err


def test_sorting_that_takes_too_long(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and says what to do."""
    monkeypatch.setattr("fleetkey.management.device_sorter.MAX_SORT_SECONDS", -1.0)
    fleetkey.device()
    assert "leave out sort" in fleetkey.error(
        "devices", "list", "--sort", "serial", "--serial-pattern", "none", status=2
    )
