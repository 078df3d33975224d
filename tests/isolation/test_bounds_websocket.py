"""What a WebSocket carries MQTT in is bounded by number and by size, before and after log-in."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.transport.frames import (
    MAX_FIRST_BYTES,
    MAX_FIRST_FRAGMENTS,
    MAX_FRAGMENTS,
    MAX_MESSAGE_BYTES,
)
from fleetkey.broker.transport.upgrade import MAX_UPGRADE_BYTES
from tests.support.measure import MEBIBYTE, bound_count, log_lines, memory_bytes
from tests.support.packets import PINGREQ, connect, packet, publish
from tests.support.streams import (
    BINARY_FRAME,
    CLOSE_FRAME,
    NORMAL,
    PING_FRAME,
    PONG_FRAME,
    UPGRADE,
    TcpStream,
    WebSocketStream,
    frame,
    frames_of,
    read_all,
)
from tests.support.versions import in_turn, only_3_1_1
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

BINARY, CONTINUATION, LAST = 0x02, 0x00, 0x80
PINGRESP = b"\xd0\x00"
POLICY_VIOLATION, MESSAGE_TOO_BIG, PROTOCOL_ERROR = 1008, 1009, 1002
WHEN = pytest.mark.parametrize("is_in", [False, True], ids=["before_connect", "connected"])
FLOOD_FRAMES = 400_000
"""Of six bytes each."""


def _hello(who: Credentials) -> bytes:
    return connect(who.client_id, username=who.key, password=who.secret, keep_alive_seconds=0)


def _is_welcome(answer: bytes) -> bool:
    """Whether it is a CONNACK that lets the client in, of either version."""
    return (answer[:1], answer[2:4]) == (b"\x20", b"\0\0")


@contextmanager
def _websocket(fleet: Fleet, source: str, who: Credentials | None = None) -> Iterator[WebSocketStream]:
    """Upgrade, and log in if someone is given."""
    with WebSocketStream(TcpStream(fleet.server.ws_port, source=source)) as stream:
        if who is not None:
            stream.send(_hello(who))
            assert _is_welcome(stream.receive())
        yield stream


def _close_code(stream: WebSocketStream) -> int:
    """Return the code of the close frame that comes."""
    first, content = 0, b""
    while (got := stream.receive_frame()) is not None:
        first, content = got
    assert first == CLOSE_FRAME
    return int.from_bytes(content[:2], "big")


@WHEN
@in_turn("content", [b"", b"\xc0"])
def test_fragments_without_end(fleet: Fleet, content: bytes, *, is_in: bool) -> None:
    """A message of too many frames is refused with 1008, however empty they are; it is logged once."""
    device, source = fleet.device(), f"127.0.0.{60 + 2 * is_in + len(content)}"
    before, count = memory_bytes(fleet), bound_count(fleet, "websocket_fragments")
    for _ in range(2):
        with _websocket(fleet, source, device if is_in else None) as stream:
            with suppress(ConnectionError):
                # In front of them a packet that is not complete: the bytes are no reason to close.
                stream.send_frame(BINARY, packet(1, 0, bytes(14_000))[:5] if not is_in else b"\x30\xc0\x80\x01")
                stream.under.send(frame(content, CONTINUATION) * FLOOD_FRAMES)
            assert _close_code(stream) == POLICY_VIOLATION
    assert memory_bytes(fleet) - before < 16 * MEBIBYTE
    assert bound_count(fleet, "websocket_fragments") == count + 2
    if is_in:
        assert len(log_lines(fleet, "bound_reached", bound="websocket_fragments", client_id=device.client_id)) == 1


@pytest.mark.parametrize("kind", ["unknown_frame", "frame", "fragments"])
def test_size_of_a_message(fleet: Fleet, kind: str) -> None:
    """A message that is too long is refused with 1009, in one frame or in many; it is logged once."""
    device, source, is_in = fleet.device(), "127.0.0.70", kind != "unknown_frame"
    most = MAX_MESSAGE_BYTES if is_in else MAX_FIRST_BYTES
    content = (publish(device.topic("x"), bytes(200_000)) * 6)[: most + 1]
    for _ in range(2):
        with _websocket(fleet, source, device if is_in else None) as stream:
            with suppress(ConnectionError):
                if kind == "fragments":
                    stream.send_frame(BINARY, content[:1_000])
                    for start in range(1_000, len(content), 10_000):
                        stream.send_frame(CONTINUATION, content[start : start + 10_000])
                else:
                    stream.under.send(frame(content))
            assert _close_code(stream) == MESSAGE_TOO_BIG
    who = {"client_id": device.client_id} if is_in else {"address": source}
    assert len(log_lines(fleet, "bound_reached", bound="websocket_message_bytes", **who)) == 1


def test_as_many_fragments_as_allowed(fleet: Fleet) -> None:
    """A message of exactly `MAX_FRAGMENTS` frames is served, again and again, with pings in between (RFC 6455, 5.4)."""
    device = fleet.device()
    with _websocket(fleet, "127.0.0.1", device) as stream:
        for _ in range(2):
            empty = frame(b"", CONTINUATION) * (MAX_FRAGMENTS - 2)
            stream.under.send(frame(PINGREQ[:1], BINARY) + empty + frame(b"x", PING_FRAME))
            stream.under.send(frame(PINGREQ[1:], CONTINUATION | LAST))
            assert [stream.receive_frame(), stream.receive_frame()] == [(PONG_FRAME, b"x"), (BINARY_FRAME, PINGRESP)]


@pytest.mark.parametrize("further", [0, 1])
def test_fragments_of_a_connect(fleet: Fleet, further: int) -> None:
    """A message with the CONNECT may have `MAX_FIRST_FRAGMENTS` frames, and not one more."""
    hello = _hello(fleet.device())
    empty = frame(b"", CONTINUATION) * (MAX_FIRST_FRAGMENTS - 2 + further)
    with _websocket(fleet, "127.0.0.1") as stream:
        stream.under.send(frame(hello[:9], BINARY) + empty + frame(hello[9:], CONTINUATION | LAST))
        if further:
            assert _close_code(stream) == POLICY_VIOLATION
        else:
            assert _is_welcome(stream.receive())


@WHEN
@in_turn("first", [BINARY_FRAME, PONG_FRAME])
def test_frames_of_nothing(fleet: Fleet, first: int, *, is_in: bool) -> None:
    """Empty frames without end cost no memory, and the client's own next request is answered."""
    device = fleet.device()
    before = memory_bytes(fleet)
    with _websocket(fleet, "127.0.0.1", device if is_in else None) as stream:
        # Before login few enough for the time that a CONNECT may take, on a busy machine too.
        stream.under.send(frame(b"", first) * (FLOOD_FRAMES // (4 if is_in else 20)))
        stream.send(PINGREQ if is_in else _hello(device))
        answer = stream.receive()
        assert answer == PINGRESP if is_in else _is_welcome(answer)
        assert memory_bytes(fleet) - before < 16 * MEBIBYTE


UPGRADES = {
    "endless_headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_UPGRADE_BYTES, b"HTTP/1.1 431 "),
    "endless_line": (b"GET /" + b"a" * 100_000, b"HTTP/1.1 431 "),
    "long_headers": (UPGRADE[:-2] + b"a: b\r\n" * 2_800 + b"\r\n", b"HTTP/1.1 431 "),
    "many_headers": (UPGRADE[:-2] + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 400 "),
    "body": (UPGRADE[:-2] + b"Content-Length: 100\r\n\r\n" + bytes(100), b"HTTP/1.1 400 "),
    "chunks": (UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"HTTP/1.1 400 "),
    "other_method": (b"POST /mqtt HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
}


@only_3_1_1
@pytest.mark.parametrize("kind", UPGRADES)
def test_upgrade(fleet: Fleet, kind: str) -> None:
    """What is too long, or no request for an upgrade, is refused in words, and the connection is closed."""
    data, answer = UPGRADES[kind]
    with TcpStream(fleet.server.ws_port) as client:
        with suppress(ConnectionError):
            client.send(data)
        assert read_all(client).startswith(answer)


@only_3_1_1
def test_upgrade_that_is_too_long_is_logged_once(fleet: Fleet) -> None:
    """One line for all of them; each is counted."""
    count = bound_count(fleet, "upgrade_bytes")
    for _ in range(3):
        with TcpStream(fleet.server.ws_port, source="127.0.0.80") as client:
            with suppress(ConnectionError):
                client.send(UPGRADES["endless_line"][0])
            read_all(client)
    assert bound_count(fleet, "upgrade_bytes") == count + 3
    assert len(log_lines(fleet, "bound_reached", bound="upgrade_bytes")) == 1


def _rest(client: TcpStream) -> list[tuple[int, bytes]]:
    head, _, rest = read_all(client, websocket=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return frames_of(rest)


@only_3_1_1
def test_request_behind_the_upgrade(fleet: Fleet) -> None:
    """A request in the place of a frame is a protocol error (RFC 6455, 5.1)."""
    with TcpStream(fleet.server.ws_port, UPGRADE * 3) as client:
        ((first, content),) = _rest(client)
    assert (first, int.from_bytes(content[:2], "big")) == (CLOSE_FRAME, PROTOCOL_ERROR)


def test_frames_behind_the_upgrade(fleet: Fleet) -> None:
    """Frames that came with the request are answered behind the answer to it."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device).disconnect()
    data = UPGRADE + frame(b"x", PING_FRAME) + frame(_hello(device)) + frame(b"\xe0\0")
    with TcpStream(fleet.server.ws_port, data) as client:
        (first, answer), *behind = _rest(client)
        assert first == BINARY_FRAME
        assert _is_welcome(answer)
        assert behind == [(PONG_FRAME, b"x"), (CLOSE_FRAME, NORMAL)]


def test_frames_behind_a_close_frame(fleet: Fleet) -> None:
    """What follows a client's close frame isn't handled (RFC 6455, 1.4); what came before it is."""
    device = fleet.device()
    topic = device.topic("x")
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(topic)
        with _websocket(fleet, "127.0.0.1", device) as stream:
            before, behind = frame(publish(topic, b"before")), frame(publish(topic, b"behind"))
            # Few enough to arrive together: closing with something unread would reset the connection.
            stream.under.send(before + frame(NORMAL, CLOSE_FRAME) + behind * 100)
            assert stream.receive() == b""
        assert [message.payload for message in backend.hear(2, 1)] == [b"before"]
