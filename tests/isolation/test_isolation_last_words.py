"""What a client sent before it went is handled, however it went; what it didn't prove changes nothing."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.attack import DISCONNECT, PINGREQ, WebSocketStream, Wire
from tests.support.certificates import make_certificate
from tests.support.fleet import Fleet
from tests.support.measure import has_closed_sockets, open_sockets
from tests.support.raw_mqtt import connect, publish
from tests.support.server import NO_LIMITS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials

MESSAGES = 1_000
CONNECT_TIMEOUT_SECONDS = 1


@pytest.fixture(scope="module")
def secure_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with TLS."""
    folder = tmp_path_factory.mktemp("server")
    made = make_certificate(folder)
    settings = {"tls_bind": "127.0.0.1:0", "tls_cert": made.certificate, "tls_key": made.key}
    settings |= {"ws_bind": "127.0.0.1:0", "connect_timeout_seconds": CONNECT_TIMEOUT_SECONDS}
    environment = {f"FLEETKEY_MQTT__{name.upper()}": str(value) for name, value in settings.items()}
    with ServerProcess(folder, environment={**NO_LIMITS, **environment}) as server:
        yield Fleet(server)


def _tls(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    # Closing with something unread takes back what the kernel didn't send yet.
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw)


def _hello(device: Credentials) -> bytes:
    will = (device.topic("will"), b"gone")
    return connect(device.client_id, username=device.key, password=device.secret, will=will)


def _numbers() -> list[bytes]:
    return [b"%d" % number for number in range(MESSAGES)]


def test_reset(fleet: Fleet) -> None:
    """A client that closes without having read an answer: all its messages arrive, and its will doesn't."""
    device = fleet.device()
    with Wire(fleet) as warm:
        warm.enter(device).leave()
    with Wire(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        wire = Wire(fleet)
        packets = b"".join(publish(device.topic("x"), number) + PINGREQ for number in _numbers())
        wire.send(_hello(device) + packets + DISCONNECT)
        wire.close()
        assert [message.payload for message in backend.hear(MESSAGES + 1, 2)] == _numbers()


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "fin"])
def test_tls(secure_fleet: Fleet, *, notifies: bool) -> None:
    """The same over TLS, whether its end is announced or not."""
    fleet, device = secure_fleet, secure_fleet.device()
    with Wire(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        with _tls(fleet.server.tls_port) as wire:
            wire.sendall(_hello(device))
            assert wire.recv(4) == b"\x20\2\0\0"
            wire.sendall(b"".join(publish(device.topic("x"), number) for number in _numbers()) + DISCONNECT)
            if notifies:
                wire.settimeout(2)
                with suppress(OSError):
                    wire.unwrap()
        assert [message.payload for message in backend.hear(MESSAGES + 1, 2)] == _numbers()


@pytest.mark.parametrize("carrier", ["tls", "wss"])
@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "undecided"])
def test_tls_that_ends_in_mid_sentence(secure_fleet: Fleet, carrier: str, *, is_answered: bool) -> None:
    """The same while the broker is busy with what came first, or with who it is: what is still encrypted counts."""
    fleet, device = secure_fleet, secure_fleet.device()
    port = fleet.server.tls_port if carrier == "tls" else fleet.server.ws_port
    with Wire(fleet) as backend, _tls(port) as secure:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        wire = secure if carrier == "tls" else WebSocketStream(secure)
        wire.sendall(_hello(device))
        if is_answered:
            assert wire.recv(4) == b"\x20\2\0\0"
        for first in range(0, MESSAGES, MESSAGES // 4):
            packets = [publish(device.topic("x"), number) for number in _numbers()[first : first + MESSAGES // 4]]
            wire.sendall(b"".join(packets))
        wire.sendall(DISCONNECT)
        secure.close()
        assert [message.payload for message in backend.hear(MESSAGES + 1, 2)] == _numbers()


def test_tls_that_never_begins_or_ends(secure_fleet: Fleet) -> None:
    """Neither a handshake that doesn't come nor an end that isn't answered keeps a descriptor."""
    before = open_sockets(secure_fleet)
    silent = [socket.create_connection(("127.0.0.1", secure_fleet.server.tls_port)) for _ in range(20)]
    ended = [_tls(secure_fleet.server.tls_port) for _ in range(20)]
    for wire in ended:
        wire.sendall(PINGREQ)
    try:
        assert has_closed_sockets(secure_fleet, before, CONNECT_TIMEOUT_SECONDS + 5)
    finally:
        for raw in (*silent, *ended):
            raw.close()


def test_refused_connect_retires_no_key(fleet: Fleet) -> None:
    """A new key that is refused for its will leaves the older one, and its connection, as they are."""
    serial = fleet.serial()
    first = fleet.register(serial)
    with Wire(fleet) as wire:
        wire.enter(first)
        second = fleet.register(serial)
        will = (second.topic("x" * 2_000), b"gone")
        with Wire(fleet) as refused:
            attempt = connect(second.client_id, username=second.key, password=second.secret, will=will)
            assert refused.return_code(attempt) == 5
        time.sleep(0.3)
        wire.settle()
    assert fleet.can_connect(first)
