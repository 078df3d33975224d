"""What a client sent before its connection ended is handled, however it ended; what it didn't prove changes nothing."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import make_certificate
from tests.support.fleet import Fleet
from tests.support.measure import has_closed_sockets, open_sockets
from tests.support.packets import DISCONNECT, PINGREQ, Will, connect, publish
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream, TlsStream, WebSocketStream, read_all
from tests.support.waiting import WAIT_SECONDS
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials

MESSAGES = 1_000
CONNACK = 0x20
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


def _hello(device: Credentials) -> bytes:
    will = Will(device.topic("will"), b"gone")
    return connect(device.client_id, username=device.key, password=device.secret, will=will)


def _numbers() -> list[bytes]:
    return [b"%d" % number for number in range(MESSAGES)]


def _all_heard(fleet: Fleet, backend: Wire, before: int) -> list[bytes]:
    """Return all that was published until the client's connection was gone, and its will with it, if that went out."""
    heard = backend.hear(MESSAGES)
    assert has_closed_sockets(fleet, before, WAIT_SECONDS)
    return [message.payload for message in [*heard, *backend.publications()]]


def test_reset(fleet: Fleet) -> None:
    """A client that closes without having read an answer: all its messages arrive, and its will doesn't."""
    device = fleet.device()
    with Wire.to(fleet) as warm:
        warm.enter(device).disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        before = open_sockets(fleet)
        packets = b"".join(publish(device.topic("x"), number) + PINGREQ for number in _numbers())
        TcpStream(fleet.server.mqtt_port, _hello(device) + packets + DISCONNECT).close()
        assert _all_heard(fleet, backend, before) == _numbers()


def test_reset_while_the_broker_is_busy(fleet: Fleet) -> None:
    """The same when the last of it comes while the broker handles, and answers, what came first."""
    device = fleet.device()
    with Wire.to(fleet) as warm:
        warm.enter(device).disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        packets = b"".join(publish(device.topic("x"), number) + PINGREQ for number in _numbers())
        for _ in range(10):
            before = open_sockets(fleet)
            stream = TcpStream(fleet.server.mqtt_port, _hello(device) + packets[: len(packets) // 2])
            stream.send(packets[len(packets) // 2 :] + DISCONNECT)
            stream.close()
            assert _all_heard(fleet, backend, before) == _numbers()


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "fin"])
def test_tls(secure_fleet: Fleet, *, notifies: bool) -> None:
    """The same over TLS, whether its end is announced or not."""
    fleet, device = secure_fleet, secure_fleet.device()
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        before = open_sockets(fleet)
        with TlsStream(fleet.server.tls_port, _hello(device)) as stream:
            assert stream.receive()[0] == CONNACK
            stream.send(b"".join(publish(device.topic("x"), number) for number in _numbers()) + DISCONNECT)
            if notifies:
                stream.end()
                with suppress(OSError):
                    read_all(stream)
        assert _all_heard(fleet, backend, before) == _numbers()


@pytest.mark.parametrize("carrier", ["tls", "wss"])
@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "undecided"])
def test_tls_that_ends_in_mid_sentence(secure_fleet: Fleet, carrier: str, *, is_answered: bool) -> None:
    """The same while the broker is busy with what came first, or with who it is: what is still encrypted counts."""
    fleet, device = secure_fleet, secure_fleet.device()
    port = fleet.server.tls_port if carrier == "tls" else fleet.server.ws_port
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(device.topic("#"))
        before, secure = open_sockets(fleet), TlsStream(port)
        stream = secure if carrier == "tls" else WebSocketStream(secure)
        stream.send(_hello(device))
        if is_answered:
            assert stream.receive()[0] == CONNACK
        for first in range(0, MESSAGES, MESSAGES // 4):
            packets = [publish(device.topic("x"), number) for number in _numbers()[first : first + MESSAGES // 4]]
            stream.send(b"".join(packets))
        stream.send(DISCONNECT)
        stream.close()
        assert _all_heard(fleet, backend, before) == _numbers()


def test_tls_that_never_begins_or_ends(secure_fleet: Fleet) -> None:
    """Neither a handshake that doesn't come nor an end that isn't answered keeps a descriptor."""
    before, port = open_sockets(secure_fleet), secure_fleet.server.tls_port
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(TcpStream(port))
            stack.enter_context(TlsStream(port)).send(PINGREQ)
        assert has_closed_sockets(secure_fleet, before, CONNECT_TIMEOUT_SECONDS + 5)


def test_refused_connect_retires_no_key(fleet: Fleet) -> None:
    """A new key that is refused for its will leaves the older one, and its connection, as they are."""
    serial = fleet.serial()
    first = fleet.register(serial)
    with Wire.to(fleet) as wire:
        wire.enter(first)
        second = fleet.register(serial)
        will = Will(second.topic("x" * 2_000), b"gone")
        with Wire.to(fleet) as refused:
            attempt = connect(second.client_id, username=second.key, password=second.secret, will=will)
            assert refused.log_in(attempt) == 5
        time.sleep(0.3)
        wire.publications()
    assert fleet.can_connect(first)
