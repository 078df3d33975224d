"""The reference device against a server that speaks TLS everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.command_line import clean_environment
from tests.support.fleet import Fleet
from tests.support.ledger import the_ledger
from tests.support.server import NO_LIMITS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the server's certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Fleet]:
    """Run a server with TLS for registration and MQTT; plain MQTT stays for the observer."""
    pair = f"tls_cert = '{certificate.certificate}'\ntls_key = '{certificate.key}'\n"
    settings = f"[http]\n{pair}[mqtt]\ntls_bind = '127.0.0.1:0'\n{pair}"
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=NO_LIMITS, settings=settings) as server:
        yield Fleet(server)


def _be_device(fleet: Fleet, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fleetkey.device", "--serial", fleet.serial(), "--url", fleet.server.url, "--once"]
    command += ["--credentials", str(file), *options]
    ended = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False)
    the_ledger().note_text(ended.stdout + ended.stderr)
    return ended


def test_device(secure: Fleet, certificate: Certificate, tmp_path: Path) -> None:
    """Told only whom to trust, it registers, connects to the TLS port and publishes one state."""
    file = tmp_path / "device.json"
    with secure.connect(secure.application()) as observer:
        assert observer.subscribe("devices/+/state") == [1]
        ended = _be_device(secure, file, "--ca", str(certificate.certificate))
        assert ended.returncode == 0, ended.stderr
        remembered = json.loads(file.read_text())
        the_ledger().note_secret(remembered["secret"])
        topics = [topic for topic, _ in observer.heard]
    assert topics == [f"devices/{remembered['deviceId']}/state"]
    assert (remembered["mqtt"]["tls"], remembered["mqtt"]["port"]) == (True, secure.server.tls_port)
    assert file.stat().st_mode & 0o777 == 0o600


def test_device_without_authority(secure: Fleet, tmp_path: Path) -> None:
    """A device that wasn't told whom to trust doesn't register, and says why."""
    ended = _be_device(secure, tmp_path / "device.json", "--timeout", "1.5")
    assert ended.returncode == 1
    assert "certificate verify failed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "device.json").exists()
