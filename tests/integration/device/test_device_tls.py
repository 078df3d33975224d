"""A device over https and MQTT with TLS: it trusts whom it was told to, and nobody else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from fleetkey.device import Backoff, BrokerUnreachable, Credentials, Device, RegistrationUnreachable
from fleetkey.device.commands import advice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.device import device_rig
else:
    import device_rig

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


@pytest.fixture(params=["IP:127.0.0.1"])
def certificate(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Make a certificate for a host."""
    path = tmp_path / "certificate.pem"
    device_rig.make_certificate(path, request.param)
    return path


@pytest.fixture
def registration(certificate: Path) -> Iterator[device_rig.RegistrationServer]:
    """Run a registration server and a broker, both with TLS only."""
    broker = device_rig.BrokerThread(certificate)
    broker.start()
    try:
        with device_rig.RegistrationServer(broker, certificate) as server:
            yield server
    finally:
        broker.stop()


def make(registration: device_rig.RegistrationServer, tmp_path: Path, ca: Path | None) -> Device:
    """Make a device that is quick to try again."""
    backoff = Backoff(initial_seconds=0.05, max_seconds=0.1)
    return Device(
        "SN-0001", registration.url, tmp_path / "device.json", tls_ca_file=ca, backoff=backoff, mqtt_version="3.1.1"
    )


def test_trusted(registration: device_rig.RegistrationServer, certificate: Path, tmp_path: Path) -> None:
    """With the authority given, the device registers, connects, and a big message comes back through TLS."""
    sizes: list[int] = []
    backoff = Backoff(initial_seconds=0.05, max_seconds=0.1)
    path = tmp_path / "device.json"
    with Device(
        "SN-0001",
        registration.url,
        path,
        tls_ca_file=certificate,
        backoff=backoff,
        mqtt_version="3.1.1",
        on_message=lambda message: sizes.append(len(message.payload)),
    ) as device:
        assert device.wait_connected(5)
        assert device.publish(device.topic("state"), bytes(200_000), qos=1).wait(5)
        assert device_rig.eventually(lambda: sizes == [200_000])
    assert Credentials.load(path).mqtt.tls


def test_untrusted_registration(registration: device_rig.RegistrationServer, tmp_path: Path) -> None:
    """A server whose authority isn't trusted gets no serial."""
    with make(registration, tmp_path, None) as device:
        assert device_rig.eventually(lambda: isinstance(device.last_error, RegistrationUnreachable))
        assert isinstance(device.last_error, RegistrationUnreachable)
        said = advice(device.last_error)
        assert "certificate verify failed" in said
        assert "--ca" in said
    assert registration.requests == []


# paho drops its socket without closing it when a handshake fails; the garbage collector closes it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("certificate", ["DNS:elsewhere.example"], indirect=True)
def test_wrong_host(registration: device_rig.RegistrationServer, certificate: Path, tmp_path: Path) -> None:
    """A certificate for another host is not this one's, neither for https nor for MQTT."""
    path = tmp_path / "device.json"
    Credentials.parse(json.dumps(registration.issue("SN-0001"))).save(path)
    with make(registration, tmp_path, certificate) as device:
        assert device_rig.eventually(lambda: isinstance(device.last_error, BrokerUnreachable))
        assert isinstance(device.last_error, BrokerUnreachable)
        said = advice(device.last_error)
        assert "certificate verify failed" in said
        assert "--ca" not in said
    path.unlink()
    with make(registration, tmp_path, certificate) as device:
        assert device_rig.eventually(lambda: isinstance(device.last_error, RegistrationUnreachable))
    assert registration.requests == []
    assert registration.broker.attempts == []
