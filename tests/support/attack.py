"""What an attacker works with: raw MQTT over TCP or WebSocket, from any loopback address, and its victims likewise."""

from __future__ import annotations

import base64
import socket
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from tests.support.fleet import Fleet
from tests.support.raw_mqtt import PUBLISH, SUBACK, Packet, RawMqtt, connect, packet, publish, subscribe, text
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.fleet import Credentials

__all__ = ["BOTH_TRANSPORTS", "DISCONNECT", "PINGREQ", "Heard", "Wire", "acknowledgement", "open_socket", "running"]

PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBSCRIBE, UNSUBACK, PINGRESP = 4, 5, 6, 7, 10, 11, 13
PINGREQ, DISCONNECT = b"\xc0\x00", b"\xe0\x00"
MAX_PACKETS = 200_000
GROUP_COMMIT_SECONDS = 0.05
BINARY_FRAME, CLOSE_FRAME = 0x82, 0x88
MASKED, LENGTH_OF_TWO_BYTES, LENGTH_OF_EIGHT_BYTES = 0x80, 126, 127

BOTH_TRANSPORTS = pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])


@contextmanager
def running(folder: Path, *, environment: dict[str, str] | None = None, **mqtt: object) -> Iterator[Fleet]:
    """Run a server with settings of `[mqtt]`, and without the limits on registrations and failed logins."""
    settings = {f"FLEETKEY_MQTT__{name.upper()}": str(value) for name, value in mqtt.items()}
    listener = {"FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0"}
    with ServerProcess(folder, environment={**NO_LIMITS, **listener, **settings, **(environment or {})}) as server:
        yield Fleet(server)


def open_socket(port: int, source: str = "127.0.0.1", receive_buffer: int = 0) -> socket.socket:
    """Connect from a loopback address; `receive_buffer` bytes wait in the kernel at most, 0 = the system's default."""
    raw = socket.socket()
    try:
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(WAIT_SECONDS)
        raw.bind((source, 0))
        raw.connect(("127.0.0.1", port))
    except BaseException:
        raw.close()
        raise
    return raw


def acknowledgement(kind: int, number: int) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return packet(kind, 2 if kind == PUBREL else 0, number.to_bytes(2, "big"))


def unsubscribe(number: int, filters: Sequence[str | bytes]) -> bytes:
    """Return an UNSUBSCRIBE (3.10)."""
    return packet(UNSUBSCRIBE, 2, number.to_bytes(2, "big") + b"".join(text(topic_filter) for topic_filter in filters))


class WebSocketStream:
    """The part of a socket that `RawMqtt` uses, over a WebSocket (RFC 6455), frame by frame."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self._buffer = b""
        raw.sendall(
            b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                msg = "no answer to the upgrade"
                raise ConnectionResetError(msg)
        answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    def sendall(self, data: bytes) -> None:
        """Send one binary frame."""
        self.send_frame(BINARY_FRAME, data)

    def send_frame(self, first: int, data: bytes) -> None:
        """Send a frame with any first byte; the mask is zero, which masks nothing."""
        if len(data) < LENGTH_OF_TWO_BYTES:
            header = bytes([first, MASKED | len(data)])
        elif len(data) <= 0xFFFF:
            header = struct.pack("!BBH", first, MASKED | LENGTH_OF_TWO_BYTES, len(data))
        else:
            header = struct.pack("!BBQ", first, MASKED | LENGTH_OF_EIGHT_BYTES, len(data))
        self.raw.sendall(header + bytes(4) + data)

    def recv(self, _count: int) -> bytes:
        """Return the content of the next frame; empty when the connection is closed."""
        while len(self._buffer) < 2 or len(self._buffer) < self._frame()[1]:
            if not self._fill():
                return b""
        start, end = self._frame()
        first, content, self._buffer = self._buffer[0], self._buffer[start:end], self._buffer[end:]
        if first == CLOSE_FRAME:
            self.send_frame(CLOSE_FRAME, content)
            return b""
        return content

    def close(self) -> None:
        """Close without a closing handshake."""
        self.raw.close()

    def _fill(self) -> bytes:
        data = self.raw.recv(65_536)
        self._buffer += data
        return data

    def _frame(self) -> tuple[int, int]:
        """Return where the content of the first frame starts and ends; past the buffer if that isn't known yet."""
        length = self._buffer[1]
        start = {LENGTH_OF_TWO_BYTES: 4, LENGTH_OF_EIGHT_BYTES: 10}.get(length, 2)
        if len(self._buffer) < start:
            return start, start
        if start > 2:
            length = int.from_bytes(self._buffer[2:start], "big")
        return start, start + length


@dataclass(frozen=True, slots=True)
class Heard:
    """A PUBLISH that came in."""

    topic: str
    payload: bytes
    qos: int
    number: int
    is_retained: bool
    is_duplicate: bool


def heard_from(got: Packet) -> Heard:
    """Take a PUBLISH apart."""
    qos, end = got.flags >> 1 & 3, 2 + int.from_bytes(got.body[:2], "big")
    number = int.from_bytes(got.body[end : end + 2], "big") if qos else 0
    payload = got.body[end + 2 :] if qos else got.body[end:]
    return Heard(got.body[2:end].decode(), payload, qos, number, bool(got.flags & 1), bool(got.flags & 8))


class Wire(RawMqtt):
    """A raw connection. Messages that come while it waits for something else are kept in `inbox`, unacknowledged."""

    def __init__(
        self, fleet: Fleet, *, websocket: bool = False, source: str = "127.0.0.1", receive_buffer: int = 0
    ) -> None:
        port = fleet.server.ws_port if websocket else fleet.server.mqtt_port
        self.raw = open_socket(port, source, receive_buffer)
        try:
            stream: Any = WebSocketStream(self.raw) if websocket else self.raw
        except BaseException:
            self.raw.close()
            raise
        self._socket = cast("socket.socket", stream)
        self._buffer = b""
        self._number = 0
        self.inbox: list[Heard] = []
        self.is_session_present = False
        self._is_persistent = False

    def enter(self, who: Credentials, **options: Any) -> Self:
        """Log in with good credentials."""
        self._is_persistent = not options.get("clean", True)
        answer = self.log_in(connect(who.client_id, username=who.key, password=who.secret, **options))
        assert answer is not None
        assert answer[1] == 0, f"CONNACK {answer[1]}"
        self.is_session_present = bool(answer[0])
        return self

    def next_number(self) -> int:
        """Return a packet id."""
        self._number = self._number % 65_535 + 1
        return self._number

    def ask(self, data: bytes, kind: int) -> Packet:
        """Send a packet and return the answer of a kind."""
        self.send(data)
        return self.wait_for(kind)

    def wait_for(self, kind: int) -> Packet:
        """Return the next packet of a kind; messages before it go to the inbox."""
        for _ in range(MAX_PACKETS):
            got = self.receive()
            assert got is not None, f"closed instead of a packet of type {kind}"
            if got.kind == kind:
                return got
            if got.kind == PUBLISH:
                self.inbox.append(heard_from(got))
        raise AssertionError("too many packets")

    def subscribe(self, *filters: str | bytes, qos: int = 0) -> list[int]:
        """Subscribe to all filters in one packet and return the SUBACK's codes."""
        number = self.next_number()
        answer = self.ask(subscribe(number, filters, qos), SUBACK)
        assert answer.body[:2] == number.to_bytes(2, "big")
        return list(answer.body[2:])

    def publish(self, topic: str | bytes, payload: bytes = b"x", *, qos: int = 0, retain: bool = False) -> None:
        """Publish; returns when the broker has taken it, which PINGRESP tells at QoS 0."""
        number = self.next_number()
        data = publish(topic, payload, qos=qos, number=number, retain=retain)
        if not qos:
            self.ask(data + PINGREQ, PINGRESP)
            return
        answer = self.ask(data, PUBACK if qos == 1 else PUBREC)
        assert answer.body == number.to_bytes(2, "big")
        if qos == 2:
            self.ask(acknowledgement(PUBREL, number), PUBCOMP)

    def settle(self) -> list[Heard]:
        """Return the messages that the broker has sent by now, and empty the inbox.

        What a persistent session is sent may have to be committed before.
        """
        if self._is_persistent:
            time.sleep(GROUP_COMMIT_SECONDS)
        self.ask(PINGREQ, PINGRESP)
        heard, self.inbox = self.inbox, []
        return heard

    def hear(self, count: int = 1, seconds: float = WAIT_SECONDS, *, acknowledges: bool = True) -> list[Heard]:
        """Wait for messages, acknowledge them if asked to, and return them; fewer when the time is over."""
        deadline = time.monotonic() + seconds
        heard: list[Heard] = []
        while len(heard) < count and time.monotonic() < deadline:
            if not self.inbox:
                self.raw.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    self.inbox.append(heard_from(self.wait_for(PUBLISH)))
                except TimeoutError:
                    break
                finally:
                    self.raw.settimeout(WAIT_SECONDS)
            heard.append(self.inbox.pop(0))
            if acknowledges:
                self.acknowledge(heard[-1])
        return heard

    def acknowledge(self, heard: Heard) -> None:
        """Acknowledge a message, in both steps at QoS 2."""
        if heard.qos == 1:
            self.send(acknowledgement(PUBACK, heard.number))
        elif heard.qos == 2:
            self.ask(acknowledgement(PUBREC, heard.number), PUBREL)
            self.send(acknowledgement(PUBCOMP, heard.number))

    def leave(self) -> None:
        """Disconnect in order; returns when the broker has closed the connection."""
        self.send(DISCONNECT)
        assert self.is_closed_by_broker()
        self.close()

    def return_code(self, data: bytes) -> int | None:
        """Send a CONNECT; return the CONNACK's code, or None if the connection was closed without one."""
        try:
            answer = self.log_in(data)
        except ConnectionError:
            return None
        if answer is None:
            return None
        assert answer[1] == 0 or answer[0] == 0, "session-present in a refusal"
        return answer[1]
