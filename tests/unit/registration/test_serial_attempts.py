"""What counts as a serial's attempt."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.management import APPROVE, DISABLE, ENABLE
from fleetkey.registration.outcomes import Issued, Limited, NotAllowed
from tests.unit.registration.app_rig import registration

if TYPE_CHECKING:
    from pathlib import Path


async def test_waiting_for_approval_costs_no_attempts(tmp_path: Path) -> None:
    """A device may ask for its approval as often as it is told to; then it has all of its attempts."""
    async with registration(
        tmp_path, registration__require_approval=True, registration__max_per_serial_per_hour=2
    ) as served:
        served.store.add_serials(["SN-1"], actor="test")
        assert [(await served.post("SN-1")).status_code for _ in range(6)] == [202] * 6
        (device,) = served.store.list_devices()
        served.management.devices.decide(APPROVE, device.device_id, actor="test")
        assert [(await served.post("SN-1")).status_code for _ in range(3)] == [200, 200, 429]


async def test_server_that_cannot_costs_no_attempts(tmp_path: Path) -> None:
    """503 is no fault of the device: when the registry can be used again, it gets in at once."""
    async with registration(tmp_path, registration__max_per_serial_per_hour=2) as served:
        served.store.add_serials(["SN-1"], actor="test")
        with closing(sqlite3.connect(served.settings.data_dir / "fleetkey.db", isolation_level=None)) as other:
            other.execute("ALTER TABLE access_keys RENAME TO elsewhere")
            assert [(await served.post("SN-1")).status_code for _ in range(4)] == [503] * 4
            other.execute("ALTER TABLE elsewhere RENAME TO access_keys")
        assert (await served.post("SN-1")).status_code == 200


@pytest.mark.parametrize("why", ["deny", "disabled"])
async def test_refusals_of_others_cost_no_attempts(tmp_path: Path, why: str) -> None:
    """Whoever knows a serial alone can't use up the attempts of the device that has it."""
    flags: dict[str, Any] = {"registration__reregistration": "deny", "registration__max_per_serial_per_hour": 3}
    async with registration(tmp_path, **flags) as served:
        served.store.add_serials(["SN-1"], actor="test")
        device_id = (await served.register("SN-1"))["deviceId"]
        if why == "disabled":
            served.management.devices.decide(DISABLE, device_id, actor="test")
        others = [await served.registrar.register("SN-1", None, f"192.0.2.{number}") for number in range(9)]
        assert all(isinstance(outcome, NotAllowed) for outcome in others)
        if why == "disabled":
            served.management.devices.decide(ENABLE, device_id, actor="test")
        served.management.keys.rotate(device_id, grace_seconds=0, actor="test")
        assert (await served.post("SN-1")).status_code == 200


async def test_what_is_issued_counts_from_anywhere(tmp_path: Path) -> None:
    """So many credentials an hour are issued for a serial, wherever they are asked for."""
    async with registration(tmp_path, registration__max_per_serial_per_hour=3) as served:
        served.store.add_serials(["SN-1"], actor="test")
        outcomes = [await served.registrar.register("SN-1", None, f"192.0.2.{number}") for number in range(5)]
        assert [type(outcome) for outcome in outcomes] == [Issued] * 3 + [Limited] * 2


async def test_serial_that_is_a_device_id(tmp_path: Path) -> None:
    """A serial that another device has as its id would stand for that device in topics: it may not register."""
    toml = (
        '[topics]\npublish = ["fleet/{serial}/#"]\n[profiles.cam]\nserials = "CAM.*"\npublish = ["fleet/{device_id}/#"]'
    )
    async with registration(tmp_path, toml, registration__verifiers=["open"]) as served:
        victim = await served.register("CAM-1")
        assert victim["mqtt"]["publish"] == [f"fleet/{victim['deviceId']}/#"]
        assert (await served.post(victim["deviceId"])).status_code == 400
        assert served.reasons() == ["serial_is_a_device_id"]
        assert (await served.post("0" * 24)).status_code == 200
