"""Registration over HTTPS and MQTT over TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.fleet import Credentials, Fleet, note_answer
from tests.support.mqtt_client import REFUSED
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the server's certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Fleet]:
    """Run a server that speaks TLS everywhere; its WebSocket listener does too."""
    pair = f"tls_cert = '{certificate.certificate}'\ntls_key = '{certificate.key}'\n"
    settings = f"[http]\n{pair}[mqtt]\ntls_bind = '127.0.0.1:0'\nws_bind = '127.0.0.1:0'\n{pair}"
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=NO_LIMITS, settings=settings) as server:
        yield Fleet(server)


def _register(fleet: Fleet, certificate: Certificate) -> tuple[Credentials, dict[str, object]]:
    context = ssl.create_default_context(cafile=certificate.certificate)
    body = {"serial": fleet.serial()}
    response = httpx.post(f"{fleet.server.url}/register", json=body, verify=context, timeout=30)
    note_answer(response)
    assert response.status_code == 200
    answer = response.json()
    credentials = Credentials(client_id=answer["deviceId"], key=answer["key"], secret=answer["secret"])
    return credentials, answer["mqtt"]


def test_register_over_https(secure: Fleet, certificate: Certificate) -> None:
    """The answer names the TLS listener and says so."""
    assert secure.server.url.startswith("https://127.0.0.1:")
    _, mqtt = _register(secure, certificate)
    assert mqtt["tls"] is True
    assert mqtt["host"] == "127.0.0.1"
    assert mqtt["port"] == secure.server.tls_port


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_connect_over_tls(secure: Fleet, certificate: Certificate, *, websocket: bool) -> None:
    """A device connects with TLS and has its own topics there, and no others."""
    device, _ = _register(secure, certificate)
    other, _ = _register(secure, certificate)
    options = {} if websocket else {"port": secure.server.tls_port}
    ca_file = certificate.certificate
    with secure.connect(device, websocket=websocket, ca_file=ca_file, **options) as client:
        assert client.subscribe(device.topic("#"), other.topic("#"), "#") == [1, REFUSED, REFUSED]
        assert client.publish(device.topic("state"), b"over TLS")
        assert client.hears(device.topic("state"), b"over TLS")
        with secure.store() as store:
            store.revoke_key(device.key, actor="test")
        assert client.is_disconnected_within(1)
    with secure.client(device, websocket=websocket, ca_file=ca_file, **options) as refused:
        assert refused.return_code == 5


def test_connect_without_trust(secure: Fleet, certificate: Certificate) -> None:
    """A client that doesn't know the certificate gets nowhere, and disturbs nobody."""
    for port in (secure.server.tls_port, secure.server.ws_port):
        with (
            TcpStream(port) as stream,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(stream.raw, server_hostname="127.0.0.1")
    device, _ = _register(secure, certificate)
    with secure.connect(device, port=secure.server.tls_port, ca_file=certificate.certificate) as client:
        assert client.is_connected


def test_plain_text_to_tls_listeners(secure: Fleet, certificate: Certificate) -> None:
    """Plain MQTT or HTTP to a TLS port is closed without an answer in clear, and disturbs nobody."""
    for port in (secure.server.tls_port, secure.server.ws_port, secure.server.http_port):
        with TcpStream(port, b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") as stream:
            answer = stream.receive()
            assert not answer.startswith((b"HTTP", b"\x20"))
    device, _ = _register(secure, certificate)
    with secure.connect(device, port=secure.server.tls_port, ca_file=certificate.certificate) as client:
        assert client.is_connected
