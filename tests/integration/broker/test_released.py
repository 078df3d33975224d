"""What a connection took is freed when it ends, without the garbage collector, which hardly ever runs."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from fleetkey.broker.codec import Reason
from fleetkey.broker.connection import Connection
from fleetkey.broker.transport.frames import FrameProtocol
from fleetkey.broker.transport.websocket import WebSocket
from fleetkey.tls.stream import TlsStream as ServerTlsStream
from fleetkey.tls.transport import TlsTransport
from tests.integration.broker.broker_rig import running
from tests.support.certificates import make_certificate
from tests.support.packets import connect, publish
from tests.support.streams import UPGRADE, TcpStream, TlsStream, WebSocketStream, frame, read_all
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.broker import FleetkeyBroker
    from tests.integration.auth_plugin.plain_broker import PlainBroker
    from tests.support.fleet import Credentials
    from tests.support.streams import Stream

Started = tuple["PlainBroker", "FleetkeyBroker"]

OF_A_CONNECTION = (Connection, WebSocket, FrameProtocol, TlsTransport, ServerTlsStream)
DISCONNECT = b"\xe0\0"
CLIENTS = 3


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Leave what is freed to reference counting."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _kept() -> list[str]:
    return [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, OF_A_CONNECTION)]


def _in_its_loop(broker: FleetkeyBroker, look: Callable[[], Any]) -> Any:
    async def call() -> Any:
        return look()

    return asyncio.run_coroutine_threadsafe(call(), broker.core.scheduler.loop).result(10)


def _hello(who: Credentials) -> bytes:
    return connect(who.client_id, username=who.key, password=who.secret)


def _leave_in_a_packet(stream: Stream, who: Credentials) -> None:
    stream.send(_hello(who)[:10])


def _leave_in_a_later_packet(stream: Stream, who: Credentials) -> None:
    stream.send(_hello(who))
    stream.receive()
    stream.send(publish(who.topic("x"), bytes(1_000))[:500])


def _log_in_and_out(stream: Stream, who: Credentials) -> None:
    stream.send(_hello(who) + publish(who.topic("x"), b"x") * 40 + DISCONNECT)
    while stream.receive():
        pass


def _reset(stream: Stream, who: Credentials) -> None:
    stream.send(_hello(who) + publish(who.topic("x"), b"x") * 40)
    stream.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _fail_to_log_in(stream: Stream, who: Credentials) -> None:
    stream.send(connect(who.client_id, username=who.key, password="wrong"))
    while stream.receive():
        pass


def _send_anything(stream: Stream, _: Credentials) -> None:
    stream.send(bytes(100))
    while stream.receive():
        pass


LIVES = (
    _leave_in_a_packet,
    _leave_in_a_later_packet,
    _log_in_and_out,
    _reset,
    _fail_to_log_in,
    _send_anything,
)


CARRIERS = pytest.mark.parametrize("carrier", ["tcp", "ws", "tls", "wss"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run a broker with TCP and WebSocket, on the event loop that the server uses."""
    with running(tmp_path_factory.mktemp("plain"), new_loop=uvloop.new_event_loop, ws_bind="127.0.0.1:0") as started:
        yield started


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run a broker with TLS and secure WebSocket."""
    folder = tmp_path_factory.mktemp("secure")
    made = make_certificate(folder)
    settings: dict[str, Any] = {"tls_bind": "127.0.0.1:0", "ws_bind": "127.0.0.1:0"}
    settings |= {"tls_cert": str(made.certificate), "tls_key": str(made.key)}
    with running(folder, new_loop=uvloop.new_event_loop, **settings) as started:
        yield started


def _open(broker: FleetkeyBroker, carrier: str) -> Stream:
    port = broker.port_of({"tcp": "tcp", "tls": "tls"}.get(carrier, "ws"))
    assert port is not None
    under = TcpStream(port) if carrier in ("tcp", "ws") else TlsStream(port)
    return WebSocketStream(under) if carrier in ("ws", "wss") else under


def _all_are_freed(broker: FleetkeyBroker) -> None:
    assert eventually(lambda: _in_its_loop(broker, _kept) == []), _in_its_loop(broker, _kept)


@pytest.mark.usefixtures("no_collection")
@CARRIERS
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__.strip("_"))
def test_ended_by_the_client(
    plain: Started, secure: Started, life: Callable[[Stream, Credentials], None], carrier: str
) -> None:
    """Whatever the client sent before it ended."""
    fleet, broker = plain if carrier in ("tcp", "ws") else secure
    device = fleet.device()
    for _ in range(CLIENTS):
        stream = _open(broker, carrier)
        with suppress(OSError):
            life(stream, device)
        stream.close()
    _all_are_freed(broker)


BEFORE_FRAMES = {
    "unfinished_frame": UPGRADE + frame(bytes(60_000))[:50_000],
    "unfinished_header": UPGRADE + frame(bytes(60_000))[:3],
    "unfinished_request": UPGRADE[:-2],
    "other_version": UPGRADE.replace(b"Version: 13", b"Version: 12"),
    "other_method": b"POST / HTTP/1.1\r\n\r\n",
    "many_headers": UPGRADE[:-2] + b"a: b\r\n" * 200 + b"\r\n",
    "frame_that_is_too_long": UPGRADE + frame(bytes(100_000))[:50_000],
    "text": UPGRADE + frame(b"x", 0x81),
    "reserved_bits": UPGRADE + frame(b"x", 0xF2),
}


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("kind", BEFORE_FRAMES)
def test_websocket_before_log_in(plain: Started, kind: str) -> None:
    """A WebSocket that got no further than this."""
    _, broker = plain
    port = broker.port_of("ws")
    assert port is not None
    for _ in range(CLIENTS):
        with TcpStream(port, BEFORE_FRAMES[kind]) as stream, suppress(OSError):
            if not kind.startswith("unfinished"):
                read_all(stream, websocket=True)
            elif "request" not in kind:
                assert stream.receive()
    _all_are_freed(broker)


@pytest.mark.usefixtures("no_collection")
@CARRIERS
@pytest.mark.parametrize("is_aborted", [True, False], ids=["aborted", "closed"])
def test_ended_by_the_broker(plain: Started, secure: Started, carrier: str, *, is_aborted: bool) -> None:
    """The same for connections that the broker ends."""
    fleet, broker = plain if carrier in ("tcp", "ws") else secure
    device = fleet.device()
    streams = [_open(broker, carrier) for _ in range(CLIENTS)]
    for stream in streams[1:]:
        stream.send(_hello(device))
        assert stream.receive()[:1] == b"\x20"

    def end() -> None:
        for connection in list(broker.core.connections._connections):
            if is_aborted:
                connection.abort(Reason.CONNECT_TIMEOUT)
            else:
                connection.close(Reason.SERVER_SHUTTING_DOWN)

    _in_its_loop(broker, end)
    for stream in streams:
        with suppress(OSError):
            while stream.receive():
                pass
        stream.close()
    _all_are_freed(broker)
