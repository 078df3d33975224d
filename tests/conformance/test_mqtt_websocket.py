"""MQTT over WebSocket (6)."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets import Subprotocol
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_websocket

from tests.support.packets import PINGREQ, Kind, Will, acknowledgement, packet, publish, subscribe
from tests.support.streams import BINARY_FRAME, CLOSE_FRAME, NORMAL, PING_FRAME, WebSocketStream
from tests.support.versions import EACH_VERSION
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION

TEXT_FRAME = 0x81


def _stream(wire: Wire) -> WebSocketStream:
    assert isinstance(wire.stream, WebSocketStream)
    return wire.stream


def _send_pieces(wire: Wire, first: int, pieces: list[bytes]) -> None:
    """Send one message in several frames (RFC 6455, 5.4)."""
    last = len(pieces) - 1
    for number, piece in enumerate(pieces):
        _stream(wire).send_frame((first & 0x0F if not number else 0) | (0x80 if number == last else 0), piece)


def _conversation(mqtt: Clients, topic: str) -> list[bytes]:
    return [
        mqtt.hello(mqtt.name()),
        subscribe(1, (topic, 2)),
        *(publish(topic, bytes([n]) * n * 40, qos=n % 3, number=n + 1) for n in range(9)),
        PINGREQ,
    ]


def _check(wire: Wire) -> None:
    """Assert that a conversation was handled, packet by packet and in order."""
    wire.receive(Kind.PINGRESP)
    assert [got.kind for got in wire.inbox][:2] == [Kind.CONNACK, Kind.SUBACK]
    assert wire.payloads() == [bytes([n]) * n * 40 for n in range(9)]
    assert sorted(got.kind for got in wire.inbox) == [Kind.CONNACK, *[Kind.PUBACK] * 3, *[Kind.PUBREC] * 3, Kind.SUBACK]


@pytest.mark.parametrize("is_in", [False, True], ids=["before_connect", "connected"])
@pytest.mark.parametrize(
    "text", ["", "\x10", "\x30\x05\x00\x01ab\x01", "hello"], ids=["empty", "connect", "publish", "words"]
)
def test_text_frame(mqtt: Clients, text: str, *, is_in: bool) -> None:
    """A frame that isn't binary closes the connection, and what it says is not handled (6.0.0-1; MQTT 5: 6.0.0-1)."""
    will, witness = Will(mqtt.topic("will")), mqtt.witness()
    wire = mqtt.connect(will=will, websocket=True) if is_in else mqtt.open(websocket=True)
    _stream(wire).send_frame(TEXT_FRAME, text.encode())
    if is_in:
        assert wire.is_closed_for(0x81)
        assert witness.publication().topic == mqtt.topic("will")
    else:
        assert wire.is_closed_by_broker()
        assert not wire.inbox
    assert witness.publications() == []


def test_text_frame_among_fragments(mqtt: Clients) -> None:
    """The same for a text frame in pieces (6.0.0-1; MQTT 5: 6.0.0-1)."""
    wire = mqtt.connect(websocket=True)
    with suppress(ConnectionError):
        # It may be closed before the last piece is sent.
        _send_pieces(wire, TEXT_FRAME, [b"\x30", b"\x03", b"\x00\x01a"])
    assert wire.is_closed_by_broker()


def test_frames_of_the_server(mqtt: Clients) -> None:
    """What the server sends is in binary frames: every kind of packet that it has (6.0.0-1).

    MQTT 5: 6.0.0-1, 4.2.0-1.
    """
    topic = mqtt.topic("x")
    wire = mqtt.connect(websocket=True)
    wire.subscribe(topic, qos=2)
    for qos in range(3):
        wire.publish(topic, b"1", qos=qos)
        wire.delivery()
    wire.unsubscribe(topic)
    wire.settle()
    assert not wire.inbox


def test_one_byte_a_frame(mqtt: Clients) -> None:
    """A frame may hold a part of a packet (6.0.0-2; MQTT 5: 6.0.0-2)."""
    wire = mqtt.open(websocket=True)
    for byte in b"".join(_conversation(mqtt, mqtt.topic("x"))):
        wire.send(bytes([byte]))
    _check(wire)


def test_one_frame_for_all(mqtt: Clients) -> None:
    """A frame may hold many packets, CONNECT among them (6.0.0-2; MQTT 5: 6.0.0-2)."""
    wire = mqtt.open(websocket=True)
    wire.send(*_conversation(mqtt, mqtt.topic("x")))
    _check(wire)


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_any_length(mqtt: Clients, seed: int) -> None:
    """Frames end anywhere, and may be empty or fragmented themselves; the packets are the same (6.0.0-2).

    MQTT 5: 6.0.0-2.
    """
    chance, wire = random.Random(seed), mqtt.open(websocket=True)
    data = b"".join(_conversation(mqtt, mqtt.topic("x")))
    cuts = sorted(chance.choices(range(len(data)), k=30))
    frames = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for frame in frames:
        half = len(frame) // 2
        if chance.random() < 0.3:
            _send_pieces(wire, BINARY_FRAME, [frame[:half], b"", frame[half:]])
        else:
            wire.send(frame)
    _check(wire)


@pytest.mark.parametrize("offered", [["mqtt"], ["other", "mqtt"], ["mqtt", "mqttv3.1"]], ids=["alone", "last", "first"])
def test_subprotocol(mqtt: Clients, offered: list[str]) -> None:
    """The subprotocol that the server selects is `mqtt` (6.0.0-4; MQTT 5: 6.0.0-4)."""
    port = mqtt.fleet.server.ws_port
    with connect_websocket(f"ws://127.0.0.1:{port}/", subprotocols=[Subprotocol(name) for name in offered]) as socket:
        assert socket.subprotocol == "mqtt"


@pytest.mark.parametrize(
    "offered", [None, ["mqttv3.1"], ["MQTT"], ["other", "chat"]], ids=["none", "older", "case", "others"]
)
def test_other_subprotocols(mqtt: Clients, offered: list[str] | None) -> None:
    """A client that doesn't offer `mqtt` isn't served, as no other may be selected (6.0.0-3, 6.0.0-4).

    MQTT 5: 6.0.0-3, 6.0.0-4.
    """
    subprotocols = [Subprotocol(name) for name in offered] if offered else None
    with pytest.raises(InvalidStatus) as caught:
        connect_websocket(f"ws://127.0.0.1:{mqtt.fleet.server.ws_port}/", subprotocols=subprotocols)
    assert caught.value.response.status_code == 400


@pytest.mark.parametrize("path", ["", "/", "/mqtt", "/any/path?with=query"])
def test_address(mqtt: Clients, path: str) -> None:
    """The URI means nothing to MQTT (6)."""
    address = f"ws://127.0.0.1:{mqtt.fleet.server.ws_port}{path}"
    with connect_websocket(address, subprotocols=[Subprotocol("mqtt")]) as socket:
        socket.send(mqtt.hello(mqtt.name()))
        got = socket.recv(timeout=10)
        assert isinstance(got, bytes)
        assert (got[0], got[2:4]) == (0x20, b"\0\0")


def test_session_across_transports(mqtt: Clients) -> None:
    """A session is the same over TCP and WebSocket: kept, taken over, resumed with what is under way (3.1.2-4)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.connect(name, clean=False, websocket=True)
    wire.subscribe(topic, qos=2)
    wire.publish(topic, b"1", qos=2)
    number = wire.publication().number
    tcp = mqtt.connect(name, clean=False)
    assert wire.is_closed_by_broker()
    again = tcp.publication()
    assert (again.number, again.payload, again.dup) == (number, b"1", True)
    tcp.send(acknowledgement(Kind.PUBREC, number))
    tcp.receive(Kind.PUBREL)
    wire = mqtt.connect(name, clean=False, websocket=True)
    assert tcp.is_closed_by_broker()
    assert wire.is_session_present
    assert wire.receive(Kind.PUBREL).body == number.to_bytes(2, "big")


@pytest.mark.parametrize("end", ["drop", "close", "violation", "disconnect"])
def test_will(mqtt: Clients, end: str) -> None:
    """However a WebSocket ends, also by its own closing handshake, without DISCONNECT the will goes out (3.1.2-8)."""
    witness = mqtt.witness()
    wire = mqtt.connect(will=Will(mqtt.topic("will"), qos=1, retain=True), websocket=True)
    if end == "drop":
        wire.drop()
    elif end == "close":
        _stream(wire).send_frame(CLOSE_FRAME, NORMAL)
        assert wire.is_closed_by_broker()
    elif end == "violation":
        wire.send(packet(15, 0, b""))
        assert wire.is_closed_by_broker()
    else:
        wire.disconnect()
        assert witness.publications() == []
        return
    assert witness.publication().topic == mqtt.topic("will")


def test_keep_alive(mqtt: Clients) -> None:
    """Keep alive holds as over TCP; WebSocket's own pings are no MQTT packets (3.1.2-24)."""
    began = time.monotonic()
    wire = mqtt.connect(keep_alive_seconds=1, websocket=True)
    while not wire.is_closed_by_broker(0.2):
        _stream(wire).send_frame(PING_FRAME, b"")
        assert time.monotonic() - began < 5
    assert time.monotonic() - began >= 1.5


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 200_000])
def test_sizes_of_frames(mqtt: Clients, size: int) -> None:
    """Messages around the sizes at which a frame's header grows pass unchanged (6.0.0-1)."""
    topic, payload = mqtt.topic("x"), random.Random(size).randbytes(size)
    wire = mqtt.connect(websocket=True)
    wire.subscribe(topic)
    wire.publish(topic, payload)
    assert wire.payloads() == [payload]
