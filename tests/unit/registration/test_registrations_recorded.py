"""Every registration that gets no credentials leaves a record, also those that the audit only counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import OverloadedError
from fleetkey.registry import RefusalListener, RefusalReason, RefusalRecord, RefusalStage
from tests.unit.registration.app_rig import HERE, Registration, registration

if TYPE_CHECKING:
    from pathlib import Path

HMAC = "[registration]\nverifiers = ['hmac']\n[registration.hmac.secrets]\nplant = '{}'\n".format("0" * 64)


async def _record(served: Registration, count: int, *, is_proven: bool, device_id: str | None = None) -> RefusalRecord:
    """Return the only record, after checking what all have in common."""
    (record,) = await served.records()
    assert (record.stage, record.listener, record.address) == (RefusalStage.REGISTER, RefusalListener.HTTP, HERE)
    assert (record.count, record.is_proven, record.device_id) == (count, is_proven, device_id)
    return record


async def test_pending(tmp_path: Path) -> None:
    """A device that waits for approval isn't let in; it is audited once, and its record counts each attempt."""
    async with registration(tmp_path, registration__require_approval=True) as served:
        served.store.add_serials(["SN-1"], actor="test")
        assert [(await served.post("SN-1")).status_code for _ in range(3)] == [202] * 3
        (device,) = served.store.list_devices()
        record = await _record(served, 3, is_proven=True, device_id=device.device_id)
        assert (record.reason, record.serial) == (RefusalReason.PENDING, "SN-1")


async def test_already_registered(tmp_path: Path) -> None:
    """A device that has a key and may not have another."""
    async with registration(tmp_path, registration__reregistration="deny") as served:
        served.store.add_serials(["SN-1"], actor="test")
        device_id = (await served.register("SN-1"))["deviceId"]
        assert (await served.post("SN-1")).status_code == 409
        assert (await _record(served, 1, is_proven=True, device_id=device_id)).reason is (
            RefusalReason.ALREADY_REGISTERED
        )


async def test_too_many_from_address(tmp_path: Path) -> None:
    """Each is counted; the audit has one."""
    async with registration(tmp_path, registration__max_per_address_per_minute=1) as served:
        served.store.add_serials(["SN-1"], actor="test")
        assert [(await served.post("SN-1")).status_code for _ in range(5)] == [200, 429, 429, 429, 429]
        assert served.reasons() == ["too_many_from_address"]
        assert (await _record(served, 4, is_proven=False)).reason is RefusalReason.TOO_MANY_FROM_ADDRESS


async def test_too_many_for_serial(tmp_path: Path) -> None:
    """The same for a serial; the device is found by it."""
    async with registration(tmp_path, registration__max_per_serial_per_hour=1) as served:
        served.store.add_serials(["SN-1"], actor="test")
        device_id = (await served.register("SN-1"))["deviceId"]
        assert [(await served.post("SN-1")).status_code for _ in range(3)] == [429] * 3
        record = await _record(served, 3, is_proven=False, device_id=device_id)
        assert (record.reason, record.serial) == (RefusalReason.TOO_MANY_FOR_SERIAL, "SN-1")


@pytest.mark.parametrize(("proof", "reason"), [(None, "hmac:no_proof"), ("x", "hmac:wrong_proof")])
async def test_proof(tmp_path: Path, proof: str | None, reason: str) -> None:
    """A wrong proof isn't in the record; a listed serial is known by its name, but nothing is proven."""
    async with registration(tmp_path, HMAC) as served:
        served.store.add_serials(["SN-1"], actor="test")
        assert (await served.post("SN-1", proof)).status_code == 400
        record = await _record(served, 1, is_proven=False)
        assert (record.reason.value, record.serial, record.is_known) == (reason, "SN-1", True)


async def test_store_unavailable(tmp_path: Path) -> None:
    """A registry that can't be read is a reason too, and is recorded once it can be written."""
    async with registration(tmp_path) as served:
        served.store.add_serials(["SN-1"], actor="test")
        with closing(sqlite3.connect(served.settings.data_dir / "fleetkey.db", isolation_level=None)) as other:
            other.execute("ALTER TABLE access_keys RENAME TO elsewhere")
            assert (await served.post("SN-1")).status_code == 503
            other.execute("ALTER TABLE elsewhere RENAME TO access_keys")
        assert (await _record(served, 1, is_proven=False)).reason is RefusalReason.STORE_UNAVAILABLE


async def test_overloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a server with too much to do."""

    async def run(*_: object) -> None:
        msg = "full"
        raise OverloadedError(msg)

    async with registration(tmp_path) as served:
        monkeypatch.setattr(served.pool, "run", run)
        assert (await served.post("SN-1")).status_code == 503
        record = await _record(served, 1, is_proven=False)
        assert (record.reason, record.serial) == (RefusalReason.OVERLOADED, "SN-1")


async def test_issued(tmp_path: Path) -> None:
    """Whoever is let in leaves none."""
    async with registration(tmp_path) as served:
        served.store.add_serials(["SN-1"], actor="test")
        await served.register("SN-1")
        assert await served.records() == []


async def test_secret_as_a_serial(tmp_path: Path) -> None:
    """A secret that is sent as a serial and proves nothing is neither recorded nor audited."""
    secret = "0123456789abcdef" * 4
    async with registration(tmp_path) as served:
        assert (await served.post(secret)).status_code == 400
        record = await _record(served, 1, is_proven=False)
        audited = served.store.last_audit(10)
        assert record.reason is RefusalReason.NOT_LISTED
        assert any(entry.reason == record.reason.value for entry in audited)
        assert secret[:16] not in repr((record, audited))
