"""Certificates that are replaced on disk reach new connections of every listener, and no connection is dropped."""

from __future__ import annotations

import signal
import ssl
import threading
from typing import TYPE_CHECKING, Self

import httpx
import pytest

from fleetkey.operations import make_self_signed, write_pair
from tests.support.certificates import make_certificate
from tests.support.fleet import Credentials, Fleet, note_answer
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TlsStream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOCKING_PAUSE_SECONDS = 0.02


def _ports(server: ServerProcess) -> dict[str, int]:
    return {"http": server.http_port, "mqtt": server.tls_port, "ws": server.ws_port}


def _served(port: int) -> bytes:
    with TlsStream(port) as stream:
        return stream.certificate


def _der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())


class _Knocking:
    """Connects over and over while certificates change; every handshake has to succeed."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        self.count = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for name, port in self._ports.items():
                try:
                    _served(port)
                    self.count += 1
                except OSError as error:
                    self.failures.append(f"{name}: {error}")
            # Handshakes cost more than everything else in this test.
            self._stop.wait(KNOCKING_PAUSE_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server that speaks TLS everywhere, with an RSA certificate first."""
    folder = tmp_path_factory.mktemp("tls")
    made = make_certificate(folder, rsa=True)
    pair = f"tls_cert = '{made.certificate}'\ntls_key = '{made.key}'\n"
    settings = f"[http]\n{pair}[mqtt]\nbind = ''\ntls_bind = '127.0.0.1:0'\nws_bind = '127.0.0.1:0'\n{pair}"
    running = ServerProcess(folder / "server", environment={**NO_LIMITS}, settings=settings)
    with running:
        yield running


def test_reload(server: ServerProcess) -> None:
    """At SIGHUP, and by itself within seconds; also from RSA to ECDSA. Connections that stand go on."""
    folder, ports, fleet = server.folder.parent, _ports(server), Fleet(server)
    trusted = ssl.create_default_context(cafile=folder / "cert.pem")
    response = httpx.post(f"{server.url}/register", json={"serial": fleet.serial()}, verify=trusted, timeout=30)
    note_answer(response)
    answer = response.json()
    topic = f"devices/{answer['deviceId']}/state"
    device = Credentials(client_id=answer["deviceId"], key=answer["key"], secret=answer["secret"])
    with fleet.connect(device, port=server.tls_port, ca_file=folder / "cert.pem") as standing:
        assert standing.subscribe(topic) == [1]
        with _Knocking(ports) as knocking:
            for number, is_asked in enumerate((True, False)):
                old = _der(folder / "cert.pem")
                assert {_served(port) for port in ports.values()} == {old}
                write_pair(folder, *make_self_signed(["localhost", "127.0.0.1"], days=number + 1), overwrite=True)
                if is_asked:
                    server.process.send_signal(signal.SIGHUP)
                new = _der(folder / "cert.pem")
                assert eventually(lambda new=new: all(_served(port) == new for port in ports.values()), 8)  # type: ignore[misc]
        assert knocking.failures == []
        assert knocking.count > 20
        assert standing.publish(topic, b"still here")
        assert standing.hears(topic, b"still here")
    assert httpx.get(f"{server.url}/health", verify=ssl.create_default_context(cafile=folder / "cert.pem")).is_success


def test_reload_unusable(server: ServerProcess) -> None:
    """A pair that doesn't fit, or is none, is logged, and the one before is served on."""
    folder, ports = server.folder.parent, _ports(server)
    old = {_served(port) for port in ports.values()}
    certificate, _ = make_self_signed(["localhost"], days=3)
    (folder / "cert.pem").write_bytes(certificate)
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: server.log.read_text().count("tls_certificate_unusable") == 2)
    assert {_served(port) for port in ports.values()} == old
    (folder / "key.pem").unlink()
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: server.log.read_text().count("tls_certificate_unusable") == 4)
    assert {_served(port) for port in ports.values()} == old
