"""The life of a fleet on a running server: proofs, profiles, approval, expiry, rotation, application keys."""

from __future__ import annotations

import base64
import hmac
import itertools
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.config import load_settings
from fleetkey.management import (
    APPROVE,
    ApplicationKeyRequest,
    DeviceFilter,
    DeviceSelection,
    Management,
    build_management,
    parse_expiry,
    prove_serial,
)
from fleetkey.management.schemas import BulkAction
from fleetkey.registry import ApplicationScope, DeviceState
from tests.support.fleet import Credentials, Fleet
from tests.support.ledger import the_ledger
from tests.support.problems import assert_problem
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "f" * 64
REFUSED = 0x80
TOML = f"""
[registration]
verifiers = ["hmac"]
grace_seconds = 3600
approval_retry_seconds = 7

[registration.hmac.secrets]
line-1 = "{SECRET}"

[profiles.wait]
serials = "WAIT-.*"
tags = {{ kind = "waiting" }}
require_approval = true

[profiles.short]
serials = "SHORT-.*"
key_lifetime_seconds = 2
reregistration = "deny"

[profiles.deny]
serials = "DENY-.*"
reregistration = "deny"
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with proofs and profiles."""
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=NO_LIMITS, settings=TOML) as server:
        yield Fleet(server)


def _claim(serial: str) -> dict[str, str]:
    proof = base64.b64encode(hmac.digest(SECRET.encode(), serial.encode(), "sha256")).decode()
    return {"serial": serial, "proof": proof}


def _register(fleet: Fleet, serial: str) -> Credentials:
    response = fleet.post(_claim(serial))
    assert response.status_code == 200, response.text
    answer = response.json()
    return Credentials(client_id=answer["deviceId"], key=answer["key"], secret=answer["secret"], serial=serial)


@contextmanager
def _operator(fleet: Fleet) -> Iterator[Management]:
    """Do what an operator does, from another process than the server's."""
    settings = load_settings(fleet.server.folder / "fleetkey.toml")
    with fleet.store() as store:
        yield build_management(settings, store)


def test_proof(fleet: Fleet) -> None:
    """What `serials prove` prints lets a device in, and nothing else does."""
    settings = load_settings(fleet.server.folder / "fleetkey.toml")
    _, proved = prove_serial(settings.registration.hmac, "SN-1")
    proof = proved.reveal()
    assert proof == _claim("SN-1")["proof"]
    assert_problem(fleet.post({"serial": "SN-1"}), 400)
    assert_problem(fleet.post({"serial": "SN-2", "proof": proof}), 400)
    assert fleet.can_connect(_register(fleet, "SN-1"))


def test_approval(fleet: Fleet) -> None:
    """Pending devices get 202 until they are approved by tag; a rejected one looks like an unknown one for good."""
    serials = [f"WAIT-{number}" for number in range(3)]
    for serial in serials:
        waiting = fleet.post(_claim(serial))
        assert (waiting.status_code, waiting.headers["retry-after"]) == (202, "7")
    with _operator(fleet) as operator:
        rejected = operator.devices.change_many(
            BulkAction.REJECT, DeviceSelection(serial_pattern="WAIT-0"), actor="test"
        )
        approved = operator.devices.change_many(
            BulkAction.APPROVE, DeviceSelection(tags={"kind": "waiting"}), actor="test"
        )
    assert (rejected.changed, approved.changed) == (1, 2)
    refused = fleet.post(_claim("WAIT-0"))
    assert_problem(refused, 400)
    assert refused.content == fleet.post({"serial": "unknown"}).content
    for serial in serials[1:]:
        assert fleet.can_connect(_register(fleet, serial))
    with _operator(fleet) as operator:
        (left,) = operator.devices.iterate(DeviceFilter(state=DeviceState.REJECTED))
        operator.devices.decide(APPROVE, left.device_id, actor="test")
    assert fleet.can_connect(_register(fleet, "WAIT-0"))


def test_key_lifetime(fleet: Fleet) -> None:
    """At the end of its lifetime a key's connection is closed and the key refused; the device registers again."""
    device = _register(fleet, "SHORT-1")
    assert_problem(fleet.post(_claim("SHORT-1")), 409)
    with fleet.connect(device) as live:
        assert live.publish(device.topic("x"))
        assert live.is_disconnected_within(6)
    assert not fleet.can_connect(device)
    again = _register(fleet, "SHORT-1")
    assert again.client_id == device.client_id
    assert fleet.can_connect(again)


def test_rotate_under_deny(fleet: Fleet) -> None:
    """`keys rotate` lets a device register under `deny`; the older key works until the newer connects."""
    older = _register(fleet, "DENY-1")
    assert_problem(fleet.post(_claim("DENY-1")), 409)
    with _operator(fleet) as operator:
        rotation = operator.keys.rotate(older.client_id, actor="test")
    assert (rotation.keys, rotation.grace_seconds) == (1, 3600)
    assert fleet.can_connect(older)
    newer = _register(fleet, "DENY-1")
    assert fleet.can_connect(older)
    with fleet.connect(older) as live:
        assert fleet.can_connect(newer)
        assert live.is_disconnected_within(2)
    assert fleet.is_shut_out(older)
    assert_problem(fleet.post(_claim("DENY-1")), 409)


def test_rotate_grace_over(fleet: Fleet) -> None:
    """A device that doesn't register meanwhile is refused once the grace period is over, and then registers again."""
    older = _register(fleet, "DENY-2")
    with fleet.connect(older) as live:
        with _operator(fleet) as operator:
            operator.keys.rotate(older.client_id, grace_seconds=1, actor="test")
        assert live.is_disconnected_within(4)
    assert not fleet.can_connect(older)
    assert fleet.can_connect(_register(fleet, "DENY-2"))


def _application(fleet: Fleet, *, expires_at: int | None = None, source: str = "", **scope: Any) -> Credentials:
    request = ApplicationKeyRequest(
        name="x",
        scope=ApplicationScope(**(scope or {"all_devices": True})),
        sources=(source,) if source else (),
        expires_at=expires_at,
    )
    with _operator(fleet) as operator:
        created = operator.keys.create_application(request, actor="test")
    the_ledger().note_secret(created.secret.reveal())
    return Credentials(client_id=f"app-{created.key.key[:8]}", key=created.key.key, secret=created.secret.reveal())


def _tag(fleet: Fleet, device: Credentials, site: str | None) -> None:
    with _operator(fleet) as operator:
        operator.devices.tag(device.client_id, {"site": site}, actor="test")


def test_application_follows_tags(fleet: Fleet) -> None:
    """A device that gains the tag is in scope at once, one that loses it out of it, on a live connection."""
    device = _register(fleet, "SN-tags")
    application = _application(fleet, tags=(("site", "here"),))
    with fleet.connect(application) as back_end, fleet.connect(device) as client:
        numbers = itertools.count()

        def arrives() -> bool:
            text = f"message {next(numbers)}"
            assert client.publish(device.topic("x"), text)
            return back_end.hears(device.topic("x"), text, 0.2)

        assert back_end.subscribe(device.topic("#")) == [REFUSED]
        _tag(fleet, device, "here")
        assert eventually(lambda: back_end.subscribe(device.topic("#")) == [1], 1)
        assert arrives()
        _tag(fleet, device, None)
        assert eventually(lambda: not arrives(), 1)
        assert not arrives()


def test_application_gains_new_device(fleet: Fleet) -> None:
    """A device that is created with the tag comes into scope as well, when a profile tags it."""
    application = _application(fleet, tags=(("kind", "waiting"),))
    with fleet.connect(application) as back_end:
        assert fleet.post(_claim("WAIT-new")).status_code == 202
        with fleet.store() as store:
            device = store.find_device("WAIT-new")
            assert device is not None
        topic = f"devices/{device.device_id}/#"
        assert eventually(lambda: back_end.subscribe(topic) == [1], 1)


def test_application_sources(fleet: Fleet) -> None:
    """A key for other networks is refused from here; one for this network gets in."""
    elsewhere = _application(fleet, source="192.0.2.0/24")
    here = _application(fleet, source="127.0.0.0/8")
    assert not fleet.can_connect(elsewhere)
    assert fleet.can_connect(here)


def test_application_expires(fleet: Fleet) -> None:
    """At its end an application key's connection is closed, and the key refused."""
    application = _application(fleet, expires_at=parse_expiry("2s", now=datetime.now(UTC)))
    with fleet.connect(application) as live:
        assert live.is_disconnected_within(6)
    assert not fleet.can_connect(application)
