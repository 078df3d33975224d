"""What the policies mean for connections that are live, and what refusals look like under them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from fleetkey.registry import DeviceState
from tests.integration.registration.registration_rig import at_refusal, identity, serving
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet

UNKNOWN = {"serial": "SN-nobody-listed"}


def _unknown_and_disabled(fleet: Fleet) -> tuple[httpx.Response, httpx.Response]:
    device = fleet.device()
    with fleet.store() as store:
        store.set_device_state(device.device_id, DeviceState.DISABLED, actor="test")
    with at_refusal(fleet, "allowlist:not_listed", "device_disabled"):
        return fleet.post(UNKNOWN), fleet.post({"serial": device.serial})


def test_deny_refusals(tmp_path: Path) -> None:
    """409 creates nothing; with `deny` and 401 a disabled serial looks like an unknown one, byte for byte."""
    with serving(tmp_path, toml='[registration]\nreregistration = "deny"\nrefuse_status = 401\n') as fleet:
        device = fleet.device()
        with at_refusal(fleet, "already_registered"):
            assert_problem(fleet.post({"serial": device.serial}), 409)
        assert fleet.can_connect(device)
        unknown, disabled = _unknown_and_disabled(fleet)
        assert_problem(unknown, 401)
        assert identity(unknown) == identity(disabled)


def test_refuse_status_from_variable(tmp_path: Path) -> None:
    """A variable sets `refuse_status` as the settings file does."""
    with serving(tmp_path, registration__refuse_status="401") as fleet:
        assert_problem(fleet.post(UNKNOWN), 401)


def test_approval_refusals(tmp_path: Path) -> None:
    """A device that was disabled while it waited looks like an unknown one; its wait is audited once."""
    with serving(tmp_path, registration__require_approval="true") as fleet:
        serial = fleet.serial()
        answers = [fleet.post({"serial": serial}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202] * 3
        assert {answer.headers["Retry-After"] for answer in answers} == {"60"}
        with fleet.store() as store:
            assert [entry.outcome for entry in store.last_audit(10) if entry.action == "register"] == ["pending"]
            device = store.find_device(serial)
            assert device is not None
            store.set_device_state(device.device_id, DeviceState.DISABLED, actor="test")
        unknown, disabled = fleet.post(UNKNOWN), fleet.post({"serial": serial})
        assert_problem(unknown, 400)
        assert identity(unknown) == identity(disabled)
        with fleet.store() as store:
            assert store.count_keys() == 0


def test_add_ends_oldest_connection(tmp_path: Path) -> None:
    """Above `max_keys` the oldest key's live connection ends within a second, and it never works again."""
    with serving(tmp_path, registration__reregistration="add", registration__max_keys="3") as fleet:
        oldest = fleet.device()
        others = [fleet.register(oldest.serial) for _ in range(2)]
        for key in (oldest, *others):
            assert fleet.can_connect(key)
        with fleet.connect(oldest) as live:
            newest = fleet.register(oldest.serial)
            assert live.is_disconnected_within(1)
        assert fleet.is_shut_out(oldest)
        assert all(fleet.can_connect(key) for key in (*others, newest))


def test_add_keeps_connection(tmp_path: Path) -> None:
    """Up to `max_keys`, one more key disturbs nobody."""
    with serving(tmp_path, registration__reregistration="add") as fleet:
        older = fleet.device()
        with fleet.connect(older) as live:
            newer = fleet.register(older.serial)
            assert not live.is_disconnected_within(1)
            assert live.publish(older.topic("state"))
        assert fleet.can_connect(newer)
        assert fleet.can_connect(older)


def test_rotate_many_lost_answers(tmp_path: Path) -> None:
    """Far more lost answers than `max_keys` don't disturb the key in use; the last one still takes over."""
    with serving(tmp_path, registration__max_keys="3") as fleet:
        first = fleet.device()
        with fleet.connect(first) as live:
            answers = [fleet.register(first.serial) for _ in range(8)]
            assert not live.is_disconnected_within(0.5)
            assert live.publish(first.topic("state"))
        assert fleet.can_connect(first)
        assert fleet.can_connect(answers[-1])
        assert all(fleet.is_shut_out(key) for key in (first, *answers[:-1]))


def test_rotate_grace_ends_connection(tmp_path: Path) -> None:
    """A grace of one second passes, and then the older key's live connection ends by itself."""
    with serving(tmp_path, registration__grace_seconds="1") as fleet:
        older = fleet.device()
        with fleet.connect(older) as live:
            began = time.monotonic()
            newer = fleet.register(older.serial)
            assert live.is_disconnected_within(4)
            assert live.disconnected_at is not None
            assert live.disconnected_at - began >= 1
        assert not fleet.can_connect(older)
        with fleet.store() as store:
            assert store.get_key(older.key).retired_reason == "expired"
        assert fleet.can_connect(newer)
