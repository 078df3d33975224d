"""A device with Fleetkey's own broker, in MQTT 5: what it is refused, and why its connections end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.device import (
    Backoff,
    BrokerRefused,
    ConnectionLost,
    Device,
    DeviceError,
    Message,
    PublishRefused,
    SubscriptionRefused,
)
from fleetkey.device.__main__ import main
from fleetkey.registry import DeviceState
from tests.support.fleet import Fleet, running
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials

FAST = Backoff(initial_seconds=0.05, max_seconds=0.1)
ELSEWHERE = "devices/elsewhere/state"
OUTSIDE = "not authorised (topic outside of the key's scope)"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


def make(fleet: Fleet, path: Path, serial: str = "", **options: Any) -> Device:
    """Make a device that may register."""
    return Device(serial or fleet.serial(), fleet.server.url, path, **({"backoff": FAST} | options))


def save(fleet: Fleet, credentials: Credentials, path: Path) -> Path:
    """Write a credentials file."""
    mqtt: dict[str, object] = {"host": "127.0.0.1", "port": fleet.server.mqtt_port, "tls": False}
    mqtt |= {"clientId": credentials.client_id, "publish": ["#"], "subscribe": ["#"]}
    path.write_text(json.dumps({"key": credentials.key, "secret": credentials.secret, "mqtt": mqtt}))
    return path


def test_connected(fleet: Fleet, tmp_path: Path) -> None:
    """A device speaks MQTT 5 with it, and its own messages come back."""
    messages: list[Message] = []
    with make(fleet, tmp_path / "device.json", on_message=messages.append) as device:
        assert device.wait_connected(10)
        assert all(device.publish(device.topic(f"{qos}"), "x", qos=qos).wait(5) for qos in (0, 1, 2))
        assert eventually(lambda: len(messages) == 3)
        log = fleet.server.log.read_text()
    connected = [json.loads(line) for line in log.splitlines() if device.device_id and device.device_id in line]
    assert [line["mqtt"] for line in connected if line["event"] == "connected"] == ["5"]


@pytest.mark.parametrize("qos", [1, 2])
def test_publish_refused(fleet: Fleet, tmp_path: Path, qos: int) -> None:
    """Who publishes elsewhere is told that the topic is outside of the key's scope; the connection stays."""
    errors: list[DeviceError] = []
    with make(fleet, tmp_path / "device.json", on_error=errors.append) as device:
        assert device.wait_connected(10)
        delivery = device.publish(ELSEWHERE, "x", qos=qos)
        assert not delivery.wait(5)
        assert delivery.is_lost
        assert isinstance(delivery.error, PublishRefused)
        assert delivery.error.topic == ELSEWHERE
        assert str(delivery.error) == f"the broker refused the message to {ELSEWHERE}: {OUTSIDE}"
        assert device.publish(device.topic("state"), "x", qos=qos).wait(5)
    assert errors == [delivery.error]


def test_subscription_refused(fleet: Fleet, tmp_path: Path) -> None:
    """A refused subscription has its reason."""
    errors: list[DeviceError] = []
    path = tmp_path / "device.json"
    serial = fleet.serial()
    with make(fleet, path, serial) as device:
        assert device.wait_connected(10)
    document = json.loads(path.read_text())
    document["mqtt"]["subscribe"] = ["devices/elsewhere/#", *document["mqtt"]["subscribe"]]
    path.write_text(json.dumps(document))
    with make(fleet, path, serial, on_error=errors.append) as device:
        assert device.wait_connected(10)
    assert [str(error) for error in errors] == [
        "the broker refused the subscription to devices/elsewhere/#: not authorised (filter outside of the key's scope)"
    ]
    assert isinstance(errors[0], SubscriptionRefused)
    assert errors[0].topic_filters == ("devices/elsewhere/#",)


def test_disabled(fleet: Fleet, tmp_path: Path) -> None:
    """A disabled device is told so at its connection's end, and then that it isn't authorised."""
    errors: list[DeviceError] = []
    with make(fleet, tmp_path / "device.json", on_error=errors.append) as device:
        assert device.wait_connected(10)
        with fleet.store() as store:
            store.set_device_state(device.device_id or "", DeviceState.DISABLED, actor="test")
        assert eventually(lambda: any(isinstance(error, BrokerRefused) for error in errors))
    lost, refused = errors[0], next(error for error in errors if isinstance(error, BrokerRefused))
    assert isinstance(lost, ConnectionLost)
    assert (lost.reason_code, refused.reason_code, refused.return_code) == (0x98, 0x87, 5)
    assert "administrative action (the key was revoked or its access changed)" in str(lost)


def test_taken_over(fleet: Fleet, tmp_path: Path) -> None:
    """Two clients with one device's credentials learn that each takes the other's connection."""
    errors: list[DeviceError] = []
    with make(fleet, tmp_path / "own.json", on_error=errors.append) as device:
        assert device.wait_connected(10)
        assert main(["--credentials", str(tmp_path / "own.json"), "--publish", device.topic("x"), "x"]) == 0
        assert eventually(lambda: bool(errors))
        assert eventually(lambda: device.is_connected)
    assert "session taken over (another connection uses this client id)" in str(errors[0])


def test_lasting_session(fleet: Fleet, tmp_path: Path) -> None:
    """A session that lasts has what was published while the device was away."""
    messages: list[Message] = []
    path, serial = tmp_path / "device.json", fleet.serial()
    with make(fleet, path, serial, clean_session=False) as device:
        assert device.wait_connected(10)
        topic = device.topic("command")
    backend = save(fleet, fleet.application(), tmp_path / "backend.json")
    assert main(["--credentials", str(backend), "--publish", topic, "while away"]) == 0
    with make(fleet, path, serial, clean_session=False, on_message=messages.append) as device:
        assert eventually(lambda: len(messages) == 1)
    assert messages[0].payload == b"while away"


def test_commands(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says why, and what to do; MQTT 3.1.1 can't say it."""
    command = ["--credentials", str(save(fleet, fleet.device(), tmp_path / "device.json"))]
    assert main([*command, "--publish", ELSEWHERE, "x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"the broker refused the message to {ELSEWHERE}: {OUTSIDE}; publish to what")
    assert main([*command, "--subscribe", "devices/elsewhere/#"]) == 1
    said = capsys.readouterr().err
    assert "not authorised (filter outside of the key's scope); subscribe to what" in said
    older = [*command, "--mqtt-version", "3.1.1"]
    assert main([*older, "--publish", ELSEWHERE, "x"]) == 0
    assert main([*older, "--subscribe", "devices/elsewhere/#"]) == 1
    assert capsys.readouterr().err.startswith("the broker refused the subscription to devices/elsewhere/#; ")


def test_server_stops(tmp_path: Path) -> None:
    """A device is told that the server stops, and comes back after its start."""
    errors: list[DeviceError] = []
    with running(tmp_path / "fleet") as fleet:
        with make(fleet, tmp_path / "device.json", on_error=errors.append) as device:
            assert device.wait_connected(10)
            fleet.server.terminate()
            assert eventually(lambda: bool(errors))
        fleet.server.start()
    assert "server shutting down (the server is stopping; try again later)" in str(errors[0])
