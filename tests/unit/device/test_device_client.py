"""What a device does before it talks to anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetkey.device import Credentials, Device, DeviceError, NoOwnTopic

URL = "http://127.0.0.1:9"
DEVICE_ID = "0" * 24


def make(tmp_path: Path, **options: Any) -> Device:
    """Make a device that isn't started."""
    return Device("S1", URL, tmp_path / "device.json", **options)


def with_filters(tmp_path: Path, *publish: str) -> Device:
    """Make a device that knows what it may publish to."""
    mqtt = {"host": "h", "port": 1, "tls": False, "clientId": DEVICE_ID, "publish": publish, "subscribe": []}
    document = {"deviceId": DEVICE_ID, "key": "a" * 32, "secret": "b" * 64, "mqtt": mqtt}
    device = make(tmp_path)
    device._credentials = Credentials.parse(json.dumps(document))
    return device


@pytest.mark.parametrize(
    ("publish", "topic"),
    [
        (["devices/1/#"], "devices/1/state"),
        (["+/1/#", "a/b", "own/#", "other/#"], "own/state"),
        (["losant/1/state"], "losant/1/state"),
        (["/#"], "/state"),
    ],
)
def test_topic(tmp_path: Path, publish: list[str], topic: str) -> None:
    """The device's own topic comes from the first filter that allows one."""
    assert with_filters(tmp_path, *publish).topic("state") == topic


@pytest.mark.parametrize("publish", [[], ["#"], ["a/+/#"], ["a/b"], ["+/state"], ["a/mystate"]])
def test_topic_none(tmp_path: Path, publish: list[str]) -> None:
    """Without such a filter the error says so."""
    with pytest.raises(NoOwnTopic, match="ends in"):
        with_filters(tmp_path, *publish).topic("state")


def test_topic_unregistered(tmp_path: Path) -> None:
    """Before registering there is none."""
    device = make(tmp_path)
    assert device.device_id is None
    with pytest.raises(NoOwnTopic, match="before it has registered"):
        device.topic("state")


@pytest.mark.parametrize(("topic", "qos"), [("", 0), ("a/+", 0), ("a", 3), ("a", -1)])
def test_publish_wrong(tmp_path: Path, topic: str, qos: int) -> None:
    """What MQTT doesn't have is refused where it is called, not in the device's thread."""
    with pytest.raises(ValueError, match=r"topic|QoS"):
        make(tmp_path).publish(topic, b"", qos)


@pytest.mark.parametrize(
    "wrong",
    [
        {"register_interval_seconds": 0},
        {"register_timeout_seconds": 0},
        {"connect_timeout_seconds": 0},
        {"keepalive_seconds": 0},
        {"keepalive_seconds": 65_536},
        {"max_queued_messages": 0},
    ],
)
def test_init_out_of_range(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A number out of its range is refused at once."""
    with pytest.raises(ValueError, match=r"greater than 0|at least one"):
        make(tmp_path, **wrong)


def test_init_ca_file(tmp_path: Path) -> None:
    """A CA file that is missing or empty is refused at once."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(DeviceError, match="No such file"):
        make(tmp_path, tls_ca_file=tmp_path / "none.pem")
    with pytest.raises(DeviceError, match="no PEM certificate"):
        make(tmp_path, tls_ca_file=empty)


def test_start_twice(tmp_path: Path) -> None:
    """A device lives once."""
    with make(tmp_path) as device, pytest.raises(RuntimeError, match="once"):
        device.start()


def test_stop_before_start(tmp_path: Path) -> None:
    """A device that was stopped first ends right after it started."""
    device = make(tmp_path)
    device.stop()
    device.run()
    assert not device.wait_connected(5)


def test_step_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault in the device's own code is logged, and the device goes on."""
    device = make(tmp_path)
    steps: list[int] = []

    def broken() -> float:
        steps.append(1)
        if len(steps) == 2:
            device.stop()
        raise ZeroDivisionError

    monkeypatch.setattr(device, "_step", broken)
    monkeypatch.setattr(device._backoff, "next_seconds", lambda: 0.0)
    device.run()
    assert len(steps) == 2
    assert "device.step_failed" in caplog.text


def test_save_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that can't be written are used all the same, and the trouble is told."""
    known = with_filters(tmp_path, "a/#")._credentials
    errors: list[DeviceError] = []
    folder = tmp_path / "gone"
    device = Device("S1", URL, folder / "device.json", on_error=errors.append)
    monkeypatch.setattr(device._registrar, "register", lambda: known)
    assert device._enroll()
    assert device.device_id == DEVICE_ID
    assert "can't be written" in str(errors[0])
