"""What an operator takes away ends within a second, from any process, for good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import cli
from tests.support.mqtt_client import REFUSED
from tests.support.packets import Will, connect
from tests.support.reasons import Says
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Credentials, Fleet
    from tests.support.mqtt_client import MqttClient
    from tests.support.scene import Scene

REVOKED_SECONDS = 1.0
COMMANDS: dict[str, Callable[[Credentials], tuple[str, ...]]] = {
    "revoke": lambda who: ("keys", "revoke", who.key),
    "disable": lambda who: ("devices", "disable", who.client_id),
    "delete": lambda who: ("devices", "delete", who.client_id),
}


def _run(fleet: Fleet, *arguments: str) -> float:
    """Run a command and return when it had ended."""
    ended = cli(*arguments, "--json", data_dir=fleet.server.data_dir)
    moment = time.monotonic()
    assert ended.status == 0, ended.err
    return moment


def _is_out_in_time(client: MqttClient, moment: float) -> bool:
    assert client.is_disconnected_within(REVOKED_SECONDS * 5)
    assert client.disconnected_at is not None
    return client.disconnected_at - moment < REVOKED_SECONDS


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
@pytest.mark.parametrize("command", COMMANDS)
def test_command_ends_live_connection(scene: Scene, command: str, *, websocket: bool) -> None:
    """Disconnected within a second of the command's end, no will, and its key never works again."""
    fleet, thief = scene.fleet, scene.attacker
    will = Will(thief.topic("gone"), b"last words", qos=1)
    with fleet.connect(thief, will=will, websocket=websocket) as client:
        assert client.subscribe(thief.topic("#")) == [1]
        moment = _run(fleet, *COMMANDS[command](thief))
        assert _is_out_in_time(client, moment)
    assert not fleet.can_connect(thief)
    other = fleet.device()
    with fleet.connect(other, will=Will(other.topic("gone"), b"control", qos=1)) as control:
        control.drop()
        assert scene.observer.hears(other.topic("gone"), b"control")
    scene.settle()
    assert scene.heard_by_observer(b"last words") == []
    assert scene.victim_client.is_connected


@pytest.mark.parametrize("flags", [("--all-devices",), ("--subscribe", "in/#")], ids=["all", "extra"])
def test_revoke_application_key(scene: Scene, flags: tuple[str, ...]) -> None:
    """An application's key ends the same way, on every connection that uses it."""
    scope = {"all_devices": True} if flags == ("--all-devices",) else {"subscribe": ("in/#",)}
    application = scene.fleet.application(**scope)
    with (
        scene.fleet.connect(application) as first,
        scene.fleet.connect(application, client_id="another", clean=False) as second,
    ):
        moment = _run(scene.fleet, "keys", "revoke", application.key)
        assert _is_out_in_time(first, moment)
        assert _is_out_in_time(second, moment)
    assert not scene.fleet.can_connect(application)
    assert scene.observer.is_connected


def test_revoke_client_that_does_not_read(scene: Scene) -> None:
    """A connection whose client reads nothing and says nothing is ended as well."""
    thief = scene.attacker
    with Wire.to(scene.fleet) as raw:
        assert raw.log_in(connect(thief.client_id, username=thief.key, password=thief.secret)) == 0
        assert not raw.is_session_present
        _run(scene.fleet, "keys", "revoke", thief.key)
        began = time.monotonic()
        assert raw.is_told(Says.REVOKED)
        assert time.monotonic() - began < REVOKED_SECONDS


def test_revoke_while_connecting(scene: Scene) -> None:
    """Whoever connects at the moment of the revocation is out a second later as well."""
    for delay_seconds in (0.0, 0.002, 0.005, 0.01, 0.02):
        thief = scene.fleet.device()
        with Wire.to(scene.fleet) as raw, scene.fleet.store() as store:
            raw.send(connect(thief.client_id, username=thief.key, password=thief.secret))
            time.sleep(delay_seconds)
            store.revoke_key(thief.key, actor="test")
            moment = time.monotonic()
            assert raw.is_closed_by_broker()
            assert time.monotonic() - moment < REVOKED_SECONDS


def test_revoke_session_that_is_away(scene: Scene) -> None:
    """A disabled device's session that is away can't be resumed while it is disabled."""
    thief = scene.attacker
    with scene.fleet.connect(thief, clean=False) as client:
        assert client.subscribe(thief.topic("#")) == [1]
    _run(scene.fleet, "devices", "disable", thief.client_id)
    assert scene.observer.publish(thief.topic("inbox"), b"for nobody")
    assert eventually(lambda: not scene.fleet.can_connect(thief), 1)
    with scene.fleet.client(thief, clean=False) as client:
        assert client.return_code == 5
        assert not client.is_session_present
        assert client.heard == []


def test_enable_brings_back(scene: Scene) -> None:
    """A disabled device can't register its way back; enabled, its old key works again."""
    device = scene.attacker
    with scene.fleet.connect(device) as client:
        assert _is_out_in_time(client, _run(scene.fleet, "devices", "disable", device.client_id))
    assert scene.fleet.post({"serial": device.serial}).status_code == 400
    assert not scene.fleet.can_connect(device)
    _run(scene.fleet, "devices", "enable", device.client_id)
    with scene.fleet.connect(device) as client:
        assert client.subscribe(device.topic("#"), scene.victim.topic("#")) == [1, REFUSED]
    again = scene.fleet.register(device.serial)
    assert again.client_id == device.client_id


def test_rotate_ends_keys(scene: Scene) -> None:
    """`keys rotate --grace-seconds 0` ends a device's keys; it registers again and is the same device."""
    device = scene.attacker
    with scene.fleet.connect(device) as client:
        _run(scene.fleet, "keys", "rotate", device.client_id, "--grace-seconds", "0")
        assert client.is_disconnected_within(5)
    assert not scene.fleet.can_connect(device)
    again = scene.fleet.register(device.serial)
    assert again.client_id == device.client_id
    assert scene.fleet.can_connect(again)


def test_restart_brings_nobody_back(fleet: Fleet) -> None:
    """After a restart the revoked, disabled and deleted are still out, the others in, and `enable` still works."""
    devices: dict[str, Credentials] = {command: fleet.device() for command in COMMANDS}
    kept = fleet.device()
    for command, device in devices.items():
        assert fleet.can_connect(device)
        _run(fleet, *COMMANDS[command](device))
    fleet.server.restart()
    assert fleet.can_connect(kept)
    for device in devices.values():
        assert not fleet.can_connect(device)
    _run(fleet, "devices", "enable", devices["disable"].client_id)
    assert fleet.can_connect(devices["disable"])
    assert not fleet.can_connect(devices["revoke"])
