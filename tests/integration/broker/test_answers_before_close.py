"""What the broker writes before it closes a connection arrives; a client that doesn't read it is cut off."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from fleetkey.broker import lingering
from fleetkey.broker.store import BrokerStore
from tests.integration.broker.broker_rig import running
from tests.support.certificates import make_certificate
from tests.support.packets import DISCONNECT, PINGREQ, Will, connect, packet, publish, subscribe
from tests.support.streams import CLOSE_FRAME, NORMAL, UPGRADE, TcpStream, TlsStream, frame, frames_of, read_all
from tests.support.waiting import WAIT_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleetkey.broker import FleetkeyBroker
    from tests.integration.auth_plugin.plain_broker import PlainBroker
    from tests.support.fleet import Credentials

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
SWITCHING = b"HTTP/1.1 101 "
FRAME_BYTES = 60_000
SMALL_BUFFER = 4096
PAYLOAD = bytes(10_000)
MESSAGES = 80
"""Together over what the kernel keeps for a client that doesn't read, and under `write_buffer_bytes`."""

CARRIERS = pytest.mark.parametrize("carrier", ["tcp", "tls", "ws", "wss"])
PINGRESP = b"\xd0\x00"
ENTERED = b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x00"

Started = tuple["PlainBroker", "FleetkeyBroker"]


@pytest.fixture(scope="module", params=LOOPS)
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run a broker with TLS and secure WebSocket, on either event loop."""
    folder = tmp_path_factory.mktemp("broker")
    made = make_certificate(folder)
    settings: dict[str, Any] = {"tls_bind": "127.0.0.1:0", "ws_bind": "127.0.0.1:0"}
    settings |= {"tls_cert": str(made.certificate), "tls_key": str(made.key)}
    with running(folder, new_loop=LOOPS[request.param], **settings) as started:
        yield started


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Run a broker with TCP and WebSocket."""
    with running(tmp_path_factory.mktemp("broker"), new_loop=uvloop.new_event_loop, ws_bind="127.0.0.1:0") as started:
        yield started


def _port(broker: FleetkeyBroker, carrier: str) -> int:
    port = broker.port_of({"tcp": "tcp", "tls": "tls"}.get(carrier, "ws"))
    assert port is not None
    return port


def _keep_little(broker: FleetkeyBroker) -> None:
    """Let the kernel keep little for a client that doesn't read; who is accepted inherits it."""
    for server in broker._servers.values():
        for listening in server.instance.sockets or ():
            with socket.socket(fileno=os.dup(listening.fileno())) as copy:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)


def _wrapped(carrier: str, data: bytes) -> bytes:
    if carrier not in {"ws", "wss"}:
        return data
    return UPGRADE + b"".join(frame(data[start : start + FRAME_BYTES]) for start in range(0, len(data), FRAME_BYTES))


def _client(hosted: FleetkeyBroker, carrier: str, data: bytes = b"", **options: Any) -> TcpStream | TlsStream:
    kind = TlsStream if carrier in {"tls", "wss"} else TcpStream
    return kind(_port(hosted, carrier), _wrapped(carrier, data) if data else b"", **options)


def _answers(client: TcpStream | TlsStream, carrier: str) -> bytes:
    """Return all packets that come; a WebSocket has to end in order."""
    return _packets(carrier, read_all(client, websocket=carrier in {"ws", "wss"}))


def _packets(carrier: str, data: bytes) -> bytes:
    """Return the packets in all that came; a WebSocket has to have ended in order."""
    if carrier in {"tcp", "tls"}:
        return data
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(SWITCHING), head
    *frames, last = frames_of(rest)
    assert last == (CLOSE_FRAME, NORMAL)
    return b"".join(content for _, content in frames)


def _hello(who: Credentials, **options: Any) -> bytes:
    return connect(who.client_id, username=who.key, password=who.secret, **options)


def _log_in(broker: PlainBroker, who: Credentials, **options: Any) -> None:
    """Let the broker remember a secret, so that it decides at once the next time."""
    with TcpStream(broker.port, _hello(who, **options) + DISCONNECT) as stream:
        assert stream.receive()[:2] == b"\x20\x02"
        assert stream.receive() == b""


def _session_of_another(broker: PlainBroker) -> bytes:
    owner, other = broker.application(), broker.application()
    _log_in(broker, owner, clean=False)
    _log_in(broker, other)
    return connect(owner.client_id, username=other.key, password=other.secret)


def _nameless(broker: PlainBroker) -> bytes:
    key = broker.application()
    _log_in(broker, key)
    return connect("", username=key.key, password=key.secret, clean=False)


def _long_will(broker: PlainBroker) -> bytes:
    device = broker.device()
    return _hello(device, will=Will(device.topic("x" * 2_000), b""))


REFUSALS: dict[str, tuple[int, Callable[[PlainBroker], bytes]]] = {
    "protocol": (1, lambda _: connect("x", level=7)),
    "session_of_another": (2, _session_of_another),
    "nameless": (2, _nameless),
    "unknown_key": (5, lambda _: connect("x", username="0" * 32, password="1" * 64)),
    "long_will": (5, _long_will),
}


@pytest.mark.parametrize("carrier", ["tls", "wss"])
@pytest.mark.parametrize("kind", REFUSALS)
def test_refusal(secure: Started, carrier: str, kind: str) -> None:
    """CONNACK comes before the close, also when CONNECT came with the end of the TLS handshake (3.1.2-2, 3.2.2-5)."""
    broker, hosted = secure
    code, prepare = REFUSALS[kind]
    data = prepare(broker)
    for _ in range(5):
        with _client(hosted, carrier, data) as client:
            assert _answers(client, carrier) == bytes([0x20, 2, 0, code])


@pytest.mark.parametrize("carrier", ["tls", "wss"])
def test_refusal_while_the_store_fails(secure: Started, carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for CONNACK 3."""
    broker, hosted = secure
    device = broker.device()
    _log_in(broker, device, clean=False)
    is_stored = False
    monkeypatch.setattr(BrokerStore, "after_commit", lambda _, callback: callback(is_stored))
    with _client(hosted, carrier, _hello(device)) as client:
        assert _answers(client, carrier) == bytes([0x20, 2, 0, 3])


def test_refusal_of_a_client_that_has_ended(secure: Started) -> None:
    """A client that ends TLS behind its CONNECT still gets the answer that is there at once."""
    _, hosted = secure
    with _client(hosted, "tls", connect("x", level=7), ends=True) as client:
        assert _answers(client, "tls") == bytes([0x20, 2, 0, 1])


def test_answers_before_a_close_frame(secure: Started) -> None:
    """A client that ends its WebSocket behind what it asks gets the answers, then the close frame (RFC 6455, 5.5.1)."""
    broker, hosted = secure
    device = broker.device()
    _log_in(broker, device)
    data = UPGRADE + frame(_hello(device)) + frame(PINGREQ) + frame(NORMAL, CLOSE_FRAME)
    with TlsStream(_port(hosted, "wss"), data) as client:
        assert _packets("wss", read_all(client)) == b"\x20\x02\x00\x00" + PINGRESP


ANSWERS = b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x01" + b"\x40\x02\x00\x02" + b"\x50\x02\x00\x03" + b"\xd0\x00"


def _conversation(device: Credentials, *, clean: bool) -> bytes:
    return (
        _hello(device, clean=clean)
        + subscribe(1, device.topic("in"), qos=1)
        + publish(device.topic("out"), b"1", qos=1, number=2)
        + publish(device.topic("out"), b"2", qos=2, number=3)
        + PINGREQ
        + DISCONNECT
    )


@CARRIERS
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_answers_before_disconnect(secure: Started, plain: Started, carrier: str, *, clean: bool) -> None:
    """SUBACK, PUBACK, PUBREC and PINGRESP arrive, also when DISCONNECT came with what they answer, in one segment."""
    broker, hosted = secure if carrier in {"tls", "wss"} else plain
    device = broker.device()
    _log_in(broker, device)
    with _client(hosted, carrier, _conversation(device, clean=clean)) as client:
        # PINGRESP doesn't wait for the store.
        assert sorted(_split(_answers(client, carrier))) == sorted(_split(ANSWERS))


def _split(data: bytes) -> list[bytes]:
    """Cut short packets apart."""
    found = []
    while data:
        found.append(data[: 2 + data[1]])
        data = data[2 + data[1] :]
    return found


@CARRIERS
def test_much_before_disconnect(secure: Started, plain: Started, carrier: str) -> None:
    """What waits because the client reads slowly is sent before the close, to the last byte."""
    broker, hosted = secure if carrier in {"tls", "wss"} else plain
    device = broker.device()
    _log_in(broker, device)
    _keep_little(hosted)
    topic = device.topic("x")
    messages = publish(topic, PAYLOAD) * MESSAGES
    data = _hello(device) + subscribe(1, topic) + messages + PINGREQ + DISCONNECT
    with _client(hosted, carrier, data, receive_buffer=SMALL_BUFFER) as client:
        assert _answers(client, carrier) == ENTERED + messages + PINGRESP


@CARRIERS
def test_shutdown(tmp_path: Path, carrier: str) -> None:
    """A broker that stops sends what it had to send first."""
    settings: dict[str, Any] = {}
    if carrier in {"tls", "wss"}:
        made = make_certificate(tmp_path)
        settings = {"tls_bind": "127.0.0.1:0", "tls_cert": str(made.certificate), "tls_key": str(made.key)}
    came: list[bytes] = []
    with ExitStack() as stack:
        broker, hosted = stack.enter_context(
            running(tmp_path, new_loop=uvloop.new_event_loop, ws_bind="127.0.0.1:0", **settings)
        )
        device = broker.device()
        _log_in(broker, device)
        _keep_little(hosted)
        topic = device.topic("x")
        messages = publish(topic, PAYLOAD) * MESSAGES
        data = _hello(device) + subscribe(1, topic) + messages
        with _client(hosted, carrier, data, receive_buffer=SMALL_BUFFER) as client:
            assert eventually(lambda: hosted.core.counters.messages_received == MESSAGES)
            reader = threading.Thread(target=lambda: came.append(_answers(client, carrier)))
            reader.start()
            # Stops the broker.
            stack.close()
            reader.join(WAIT_SECONDS)
    assert came == [ENTERED + messages]


BAD_UPGRADES = {
    "no_upgrade": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 "),
    "no_subprotocol": (UPGRADE.replace(b"mqtt\r\n\r\n", b"chat\r\n\r\n"), b"HTTP/1.1 400 "),
    "body": (UPGRADE[:-2] + b"Content-Length: 5\r\n\r\nhello", b"HTTP/1.1 400 "),
    "malformed": (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"HTTP/1.1 400 "),
    "no_http": (b"\x10\x0c\x00\x04MQTT", b"HTTP/1.1 400 "),
    "endless": (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, b"HTTP/1.1 431 "),
}


@pytest.mark.parametrize("kind", BAD_UPGRADES)
def test_bad_upgrade(secure: Started, kind: str) -> None:
    """The answer to what is no request for an upgrade arrives, over TLS as well (RFC 6455, 4.2.2)."""
    _, hosted = secure
    data, answer = BAD_UPGRADES[kind]
    with TlsStream(_port(hosted, "wss"), data) as client:
        assert read_all(client).startswith(answer)


BAD_FRAMES = {
    "text": (frame(b"x", 0x81), 1003),
    "reserved_bits": (frame(b"x", 0xC2), 1002),
    "unmasked": (b"\x82\x01x", 1002),
    "fragments": (frame(b"", 0x02) + frame(b"", 0x00) * 5_000, 1008),
    "size": (frame(bytes(70_000)), 1009),
    "another_request": (UPGRADE, 1002),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_bad_frame(secure: Started, kind: str) -> None:
    """The close frame that says what was wrong arrives, over TLS as well (RFC 6455, 7.1.7)."""
    _, hosted = secure
    data, code = BAD_FRAMES[kind]
    with TlsStream(_port(hosted, "wss"), UPGRADE + data) as client:
        _, _, rest = read_all(client).partition(b"\r\n\r\n")
    ((first, content),) = frames_of(rest)
    assert (first, int.from_bytes(content[:2], "big")) == (CLOSE_FRAME, code)


def _deaf(broker: PlainBroker, hosted: FleetkeyBroker, carrier: str) -> TcpStream | TlsStream:
    """Return a client that is owed much, reads nothing, and has said DISCONNECT."""
    device = broker.device()
    _log_in(broker, device)
    _keep_little(hosted)
    topic, before = device.topic("x"), hosted.core.counters.messages_received
    data = _hello(device) + subscribe(1, topic) + publish(topic, PAYLOAD) * MESSAGES
    client = _client(hosted, carrier, data, receive_buffer=SMALL_BUFFER)
    try:
        assert eventually(lambda: hosted.core.counters.messages_received == before + MESSAGES)
        ended = hosted.core.counters.disconnections["disconnect"]
        client.send(frame(DISCONNECT) if carrier in {"ws", "wss"} else DISCONNECT)
        assert eventually(lambda: hosted.core.counters.disconnections["disconnect"] == ended + 1)
    except BaseException:
        client.close()
        raise
    return client


@pytest.mark.parametrize(("carrier", "ends"), [("tcp", False), ("tls", False), ("tls", True), ("wss", False)], ids=str)
def test_client_that_reads_nothing(secure: Started, plain: Started, carrier: str, *, ends: bool) -> None:
    """It counts as a connection until its socket is closed, and that is after `LINGER_SECONDS`, however it ended."""
    broker, hosted = secure if carrier in {"tls", "wss"} else plain
    assert eventually(lambda: len(hosted.core.connections) == 0)
    with _deaf(broker, hosted, carrier) as client:
        if ends:
            client.end()
        assert len(hosted.core.connections) == 1
        assert eventually(lambda: len(hosted.core.connections) == 0)


@CARRIERS
def test_client_that_is_gone(secure: Started, plain: Started, carrier: str) -> None:
    """A client that left before it was let in, or refused, counts no longer than what it sent is handled."""
    broker, hosted = secure if carrier in {"tls", "wss"} else plain
    counters, stranger = hosted.core.counters, connect("x", username="0" * 32, password="1" * 64)
    ended, refused = counters.disconnections["disconnect"], counters.refusals[5]
    for _ in range(5):
        for hello in (_hello(broker.device()), stranger):
            with _client(hosted, carrier, hello + PINGREQ * 50 + DISCONNECT):
                pass
    assert eventually(lambda: counters.disconnections["disconnect"] == ended + 5)
    assert eventually(lambda: counters.refusals[5] == refused + 5)
    assert eventually(lambda: len(hosted.core.connections) == 0)


def test_clients_that_read_nothing_together(plain: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """What closed connections may have to send is bounded: beyond it, the one that was closed first is cut off."""
    broker, hosted = plain
    monkeypatch.setattr(lingering, "MAX_LINGERING_BYTES", len(PAYLOAD) * MESSAGES * 3)
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 1_000)
    assert eventually(lambda: len(hosted.core.connections) == 0)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(_deaf(broker, hosted, "tcp"))
        assert eventually(lambda: len(hosted.core.connections) == 3)
        assert hosted.core.counters.bounds["lingering_bytes"] == 3
    assert eventually(lambda: len(hosted.core.connections) == 0)


def test_malformed_packet_from_a_client_that_stays(secure: Started) -> None:
    """A client that is closed over TLS and doesn't end its side is cut off."""
    _, hosted = secure
    with _client(hosted, "tls", packet(15, 0, b"")) as client:
        assert read_all(client) == b""
        assert eventually(lambda: len(hosted.core.connections) == 0)
