"""`fleetkey devices` for many at once, by labels and patterns, and `describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


def _states(fleetkey: CommandLine) -> dict[str, str]:
    return {one["serial"]: one["state"] for one in fleetkey.json("devices", "list")}


def test_approve_several(fleetkey: CommandLine) -> None:
    """Several ids at once; one gives the device, more give the numbers."""
    ids = [fleetkey.device(f"SN-{number}", is_pending=True)[0] for number in range(3)]
    assert fleetkey.json("devices", "approve", ids[0])["state"] == "active"
    said = fleetkey.json("devices", "approve", *ids)
    assert (said["approved"], said["unchanged"], said["refused"]) == (2, 1, 0)
    assert [(one["device_id"], one["state"], one["outcome"]) for one in said["devices"]] == [
        (ids[0], "active", "unchanged")
    ]
    assert set(_states(fleetkey).values()) == {"active"}


def test_reject_one(fleetkey: CommandLine) -> None:
    """A rejected device is listed as such, can't be enabled, and can be approved after all."""
    device_id, _ = fleetkey.device(is_pending=True)
    assert fleetkey.json("devices", "reject", device_id)["state"] == "rejected"
    assert [one["device_id"] for one in fleetkey.json("devices", "list", "--state", "rejected")] == [device_id]
    assert "is rejected; see: fleetkey devices approve" in fleetkey.error("devices", "enable", device_id)
    assert fleetkey.json("devices", "approve", device_id)["state"] == "active"
    assert "is active, not pending" in fleetkey.error("devices", "reject", device_id)


def test_decide_by_tag_and_pattern(fleetkey: CommandLine) -> None:
    """By tag, by attribute, by serial; for people a sentence."""
    for number in range(4):
        device_id, _ = fleetkey.device(f"SN-{number}", is_pending=True)
        fleetkey.json("devices", "tag", device_id, "site=north" if number < 2 else "site=south")
        fleetkey.json("devices", "describe", device_id, f"batch={number}")
    assert fleetkey.text("devices", "approve", "--tag", "site=north") == "approved 2, 0 unchanged\n"
    assert fleetkey.json("devices", "reject", "--serial-pattern", "SN-[1-2]")["rejected"] == 1
    assert fleetkey.json("devices", "approve", "--attribute", "batch=3")["approved"] == 1
    assert _states(fleetkey) == {"SN-0": "active", "SN-1": "active", "SN-2": "rejected", "SN-3": "active"}


def test_decide_refused(fleetkey: CommandLine) -> None:
    """Nothing, or two things at once, is never everything; a bad pattern says where."""
    device_id, _ = fleetkey.device(is_pending=True)
    for action in ("approve", "reject"):
        assert "select devices by id" in fleetkey.error("devices", action, status=2)
        assert "select devices by id" in fleetkey.error("devices", action, device_id, "--tag", "a=b", status=2)
        assert "character 3" in fleetkey.error("devices", action, "--serial-pattern", "SN(", status=2)
        assert "no device" in fleetkey.error("devices", action, device_id, "0" * 24)
    assert _states(fleetkey) == {"SN-1": "pending"}


def test_list_by_labels_and_pattern(fleetkey: CommandLine) -> None:
    """Tags, attributes and a pattern together."""
    for number in range(3):
        device_id, _ = fleetkey.device(f"SN-{number}")
        fleetkey.json("devices", "tag", device_id, "site=north")
        fleetkey.json("devices", "describe", device_id, f"batch={number % 2}")

    def found(*options: str) -> list[str]:
        return sorted(one["serial"] for one in fleetkey.json("devices", "list", *options))

    assert found("--tag", "site=north", "--attribute", "batch=0") == ["SN-0", "SN-2"]
    assert found("--attribute", "batch=0", "--serial-pattern", "SN-[1-9]") == ["SN-2"]
    assert found("--tag", "site=south") == []
    assert "is given two values" in fleetkey.error("devices", "list", "--tag", "a=1", "--tag", "a=2", status=2)


def test_describe(fleetkey: CommandLine) -> None:
    """Name and attributes are shown where the device is; `NAME=` takes one away."""
    device_id, _ = fleetkey.device()
    described = fleetkey.json("devices", "describe", device_id, "a=1", "b=2", "--name", "Pump 3")
    assert (described["name"], described["attributes"]) == ("Pump 3", {"a": "1", "b": "2"})
    shown = fleetkey.json("devices", "describe", device_id, "a=", "--name", "")
    assert (shown["name"], shown["attributes"], shown["profile"], shown["policy"]) == ("", {"b": "2"}, None, {})
    assert "nothing to set" in fleetkey.error("devices", "describe", device_id, status=2)
    assert "not an attribute" in fleetkey.error("devices", "describe", device_id, "a", status=2)
