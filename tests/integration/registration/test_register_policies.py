"""What a known device gets, and who has to agree."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import cli
from tests.support.fleet import Credentials, Fleet
from tests.support.problems import assert_problem
from tests.support.server import NO_LIMITS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def _fleet(folder: Path, registration: str) -> Iterator[Fleet]:
    with ServerProcess(folder, environment=NO_LIMITS, settings=f"[registration]\n{registration}\n") as server:
        yield Fleet(server)


def test_rotate_newer_key_replaces_older(fleet: Fleet) -> None:
    """The older key works until the newer first connects; then never again, and its connection ends in a second."""
    older = fleet.device()
    with fleet.connect(older) as live:
        newer = fleet.register(older.serial)
        assert live.publish(older.topic("x"))
        assert live.is_connected
        with fleet.connect(newer) as client:
            assert live.is_disconnected_within(1)
            assert not fleet.can_connect(older)
            assert client.is_connected
            assert client.publish(newer.topic("x"))
    fleet.server.restart()
    assert not fleet.can_connect(older)
    assert fleet.can_connect(newer)


def test_rotate_lost_answer(fleet: Fleet) -> None:
    """A device that never got its answer goes on with the key it has, and may ask again."""
    first = fleet.device()
    assert fleet.can_connect(first)
    lost = fleet.register(first.serial)
    assert fleet.can_connect(first)
    third = fleet.register(first.serial)
    assert fleet.can_connect(first)
    assert fleet.can_connect(third)
    for ended in (first, lost):
        assert fleet.is_shut_out(ended)


def test_rotate_grace_over(tmp_path: Path) -> None:
    """The older key's connection goes on until the grace period is over and ends then; the newer key works."""
    with _fleet(tmp_path, "grace_seconds = 2") as fleet:
        older = fleet.device()
        with fleet.connect(older) as live:
            began = time.monotonic()
            newer = fleet.register(older.serial)
            assert live.is_disconnected_within(10)
            assert live.disconnected_at is not None
            assert 2 <= live.disconnected_at - began < 6
        assert not fleet.can_connect(older)
        assert fleet.can_connect(newer)


def test_add_gives_one_more_key(tmp_path: Path) -> None:
    """`add`: all keys work side by side, at most `max_keys`; above it one that never connected goes first."""
    with _fleet(tmp_path, 'reregistration = "add"\nmax_keys = 3') as fleet:
        keys = [fleet.device()]
        keys += [fleet.register(keys[0].serial) for _ in range(2)]
        for key in keys[:2]:
            assert fleet.can_connect(key)
        newest = fleet.register(keys[0].serial)
        assert [fleet.can_connect(key) for key in (*keys, newest)] == [True, True, False, True]
        again = fleet.register(keys[0].serial)
        assert fleet.is_shut_out(keys[0])
        assert [fleet.can_connect(key) for key in (*keys, newest, again)] == [False, True, False, True, True]


def test_deny_second_registration(tmp_path: Path) -> None:
    """`deny`: 409 while the device has a key; the key it has goes on. `refuse_status` doesn't change that."""
    with _fleet(tmp_path, 'reregistration = "deny"\nrefuse_status = 401') as fleet:
        device = fleet.device()
        assert_problem(fleet.post({"serial": device.serial}), 409)
        assert fleet.can_connect(device)
        assert_problem(fleet.post({"serial": "unknown"}), 401)
        assert_problem(fleet.post({"serial": ""}), 400)
        with fleet.store() as store:
            assert [entry.reason for entry in store.last_audit(100) if entry.outcome == "refused"] == [
                "already_registered",
                "allowlist:not_listed",
                "malformed_serial",
            ]
            assert store.count_keys() == 1
            store.revoke_key(device.key, actor="test")
        assert fleet.register(device.serial).client_id == device.client_id


def test_require_approval(tmp_path: Path) -> None:
    """202 and no credentials until an operator approved the device; then 200."""
    with _fleet(tmp_path, "require_approval = true\napproval_retry_seconds = 7") as fleet:
        serial = fleet.serial()
        for _ in range(3):
            response = fleet.post({"serial": serial})
            assert response.status_code == 202
            assert response.headers["retry-after"] == "7"
            assert response.headers["cache-control"] == "no-store"
            assert set(response.json()) == {"status", "detail"}
            assert response.json()["status"] == "pending"
        with fleet.store() as store:
            assert store.count_keys() == 0
        data_dir = fleet.server.data_dir
        (pending,) = cli("devices", "list", "--state", "pending", "--json", data_dir=data_dir).json
        assert pending["serial"] == serial
        assert cli("devices", "enable", pending["device_id"], data_dir=data_dir).status == 1
        assert fleet.post({"serial": serial}).status_code == 202
        approved = cli("devices", "approve", pending["device_id"], "--json", data_dir=data_dir)
        assert approved.json["state"] == "active"
        device = fleet.register(serial)
        assert device.client_id == pending["device_id"]
        assert fleet.can_connect(device)
        assert fleet.register(serial).client_id == device.client_id


def test_refusals_tell_nothing_of_a_serial(fleet: Fleet) -> None:
    """Unknown, removed and disabled serials get the same bytes."""
    disabled, removed = fleet.device(), fleet.device()
    with fleet.store() as store:
        store.remove_serial(removed.serial, actor="test")
    assert cli("devices", "disable", disabled.client_id, data_dir=fleet.server.data_dir).status == 0
    answers = [fleet.post({"serial": serial}) for serial in (disabled.serial, removed.serial, "SN-" + "0" * 12)]
    for answer in answers:
        assert_problem(answer, 400)
    assert len({answer.content for answer in answers}) == 1
    headers = [{name: value for name, value in answer.headers.items() if name != "date"} for answer in answers]
    assert headers[0] == headers[1] == headers[2]


@pytest.mark.parametrize("policy", ["rotate", "add"])
def test_register_fifty_at_once(tmp_path: Path, policy: str) -> None:
    """Fifty simultaneous registrations of one serial end in one device, and the last answered key works."""
    with _fleet(tmp_path, f'reregistration = "{policy}"') as fleet:
        serial = fleet.serial()
        start = threading.Barrier(50)
        answered: list[Credentials] = []

        def register() -> None:
            start.wait(30)
            answered.append(fleet.register(serial))

        with ThreadPoolExecutor(50) as pool:
            for future in [pool.submit(register) for _ in range(50)]:
                future.result(60)
        assert len({device.client_id for device in answered}) == 1
        assert len({device.key for device in answered}) == 50
        with fleet.store() as store:
            assert store.count_devices() == 1
        assert fleet.can_connect(answered[-1])
        if policy == "add":
            assert all(fleet.can_connect(device) for device in answered[::10])
