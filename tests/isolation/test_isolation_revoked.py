"""Who lost its key, was disabled or deleted is out within a second, without a last word."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import DeviceState
from tests.support.fleet import running
from tests.support.packets import Will, connect, publish
from tests.support.reasons import Says
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.registry import SqliteStore
    from tests.support.fleet import Credentials, Fleet


NOT_AUTHORIZED = 5
WITHIN_SECONDS = 1.0
TEMPLATES = "devices/{device_id}/#,serials/{serial}/#"

ENDS: dict[str, Callable[[SqliteStore, Credentials], object]] = {
    "revoked": lambda store, who: store.revoke_key(who.key, actor="test"),
    "disabled": lambda store, who: store.set_device_state(who.client_id, DeviceState.DISABLED, actor="test"),
    "deleted": lambda store, who: store.delete_device(who.client_id, actor="test"),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose devices reach topics by id and by serial, so that a successor could inherit some."""
    topics = {"FLEETKEY_TOPICS__PUBLISH": TEMPLATES, "FLEETKEY_TOPICS__SUBSCRIBE": TEMPLATES}
    with running(tmp_path_factory.mktemp("server"), environment=topics) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


@BOTH_TRANSPORTS
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
@pytest.mark.parametrize("end", ENDS)
def test_end_while_connected(fleet: Fleet, everyone: Credentials, end: str, *, clean: bool, websocket: bool) -> None:
    """Disconnected within a second of the commit; neither its will nor anything it still sends reaches anyone."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone).subscribe(f"devices/{device.client_id}/#")
        wire.enter(device, clean=clean, will=Will(device.topic("gone"), b"gone", retain=True))
        wire.subscribe(device.topic("command"), qos=1)
        with fleet.store() as store:
            ENDS[end](store, device)
        committed = time.monotonic()
        assert wire.is_closed_for(Says.REVOKED, seconds=WITHIN_SECONDS)
        assert time.monotonic() - committed < WITHIN_SECONDS
        wire.send(publish(device.topic("state"), b"too late"))
        assert backend.publications() == []
        backend.subscribe(device.topic("gone"))
        assert backend.publications() == []
        with Wire.to(fleet, websocket=websocket) as again:
            attempt = connect(device.client_id, username=device.key, password=device.secret, clean=clean)
            assert again.log_in(attempt) == NOT_AUTHORIZED


def _send_again_and_again(wire: Wire, data: bytes) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        wire.stream.send(data)


@pytest.mark.parametrize("end", ENDS)
def test_end_amid_a_flood_of_its_own(fleet: Fleet, everyone: Credentials, end: str) -> None:
    """Sending without a pause keeps nobody in."""
    device = fleet.device()
    flood = publish(device.topic("state"), b"x" * 100, qos=0) * 200
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone)
        wire.enter(device)
        with fleet.store() as store:
            ENDS[end](store, device)
        with pytest.raises(ConnectionError):
            _send_again_and_again(wire, flood)


@BOTH_TRANSPORTS
def test_application_key_revoked(fleet: Fleet, everyone: Credentials, *, websocket: bool) -> None:
    """All its connections end within a second; its sessions, queues and retained messages are gone for good."""
    device, gone = fleet.device(), fleet.application()
    command = device.topic("command")
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(device)
        backend.enter(gone, clean=False).subscribe(device.topic("#"), qos=1)
        backend.publish(command, b"kept", qos=1, retain=True)
        with fleet.store() as store:
            store.revoke_key(gone.key, actor="test")
        assert backend.is_told(Says.REVOKED, seconds=WITHIN_SECONDS)
        assert wire.subscribe(command) == [0]
        assert wire.publications() == []
        # Its client id is free for another application, which finds nothing.
        with Wire.to(fleet, websocket=websocket) as heir:
            attempt = connect(gone.client_id, username=everyone.key, password=everyone.secret, clean=False)
            assert heir.log_in(attempt) == 0
            assert not heir.is_session_present
            wire.publish(device.topic("state"), b"unheard", qos=1)
            assert heir.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("was_connected", [True, False], ids=["connected", "away"])
def test_deleted_device_leaves_nothing(
    fleet: Fleet, everyone: Credentials, *, was_connected: bool, websocket: bool
) -> None:
    """Its retained messages, session and queue are gone; a new device of the same serial begins with nothing."""
    device = fleet.device()
    own = f"serials/{device.serial}"
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone)
        wire.enter(device, clean=False, will=Will(f"{own}/gone", b"gone", retain=True))
        wire.subscribe(f"{own}/command", device.topic("command"), qos=2)
        for topic in (f"{own}/state", device.topic("state")):
            wire.publish(topic, b"kept", qos=1, retain=True)
        for qos in (1, 2):
            backend.publish(f"{own}/command", b"not acknowledged", qos=qos)
        wire.hear(2, acknowledges=False)
        if not was_connected:
            wire.disconnect()
            backend.publish(f"{own}/command", b"queued", qos=1)
        with fleet.store() as store:
            store.delete_device(device.client_id, actor="test")

        def is_forgotten() -> bool:
            backend.subscribe(f"{own}/#", f"devices/{device.client_id}/#")
            return backend.publications() == []

        assert eventually(is_forgotten, WITHIN_SECONDS)
        if was_connected:
            assert wire.is_told(Says.REVOKED)
        heir = fleet.register(device.serial)
        assert heir.client_id != device.client_id
        with Wire.to(fleet, websocket=websocket) as new:
            assert not new.enter(heir, clean=False).is_session_present
            backend.publish(f"{own}/command", b"unheard", qos=1)
            new.subscribe(f"{own}/#", heir.topic("#"), qos=2)
            assert new.publications() == []


@BOTH_TRANSPORTS
def test_disabled_and_enabled_again(fleet: Fleet, everyone: Credentials, *, websocket: bool) -> None:
    """While it is disabled nothing gets to it; enabled, it finds its session as it was, and what was queued."""
    device = fleet.device()
    command = device.topic("command")
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone)
        wire.enter(device, clean=False).subscribe(command, qos=1)
        with fleet.store() as store:
            store.set_device_state(device.client_id, DeviceState.DISABLED, actor="test")
            assert wire.is_told(Says.REVOKED)
            assert not fleet.can_connect(device)
            backend.publish(command, b"meanwhile", qos=1)
            store.set_device_state(device.client_id, DeviceState.ACTIVE, actor="test")
        with Wire.to(fleet, websocket=websocket) as back:
            assert back.enter(device, clean=False).is_session_present
            assert [message.payload for message in back.hear()] == [b"meanwhile"]
