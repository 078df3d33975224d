"""An MQTT 3.1.1 client that does exactly what a test says, over TCP or WebSocket; it answers nothing by itself."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from typing import Protocol

from websockets import Subprotocol
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from tests.support.waiting import WAIT_SECONDS
from tests.support.wire_packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    Packet,
    Publication,
    acknowledgement,
    number_of,
    publication_of,
    publish,
    subscribe,
    unsubscribe,
)

__all__ = ["Stream", "TcpStream", "WebSocketStream", "Wire"]


class Stream(Protocol):
    """Bytes in both directions."""

    def send(self, data: bytes) -> None:
        """Send; what the broker doesn't take any more is dropped, and `receive` then finds the end."""

    def receive(self, seconds: float) -> bytes:
        """Return what comes next, nothing at the end; raises TimeoutError."""

    def end(self) -> None:
        """End as if the network had failed."""

    def close(self) -> None:
        """Close."""


class TcpStream:
    """A TCP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def receive(self, seconds: float) -> bytes:
        """Return what comes next."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return self._socket.recv(65_536)
        except ConnectionError:
            return b""

    def end(self) -> None:
        """End without a word."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close."""
        self._socket.close()


class WebSocketStream:
    """A WebSocket; what is sent at once is one binary frame."""

    def __init__(self, port: int) -> None:
        self.socket = connect_websocket(
            f"ws://127.0.0.1:{port}/mqtt", subprotocols=[Subprotocol("mqtt")], max_size=None
        )

    def send(self, data: bytes | str) -> None:
        """Send a frame; text makes a text frame."""
        with contextlib.suppress(ConnectionClosed):
            self.socket.send(data)

    def receive(self, seconds: float) -> bytes:
        """Return the next frame, which must be a binary one (6.0.0-1)."""
        try:
            data = self.socket.recv(timeout=max(seconds, 0))
        except ConnectionClosed:
            return b""
        assert isinstance(data, bytes), "a text frame"
        return data

    def end(self) -> None:
        """End without a closing frame."""
        self.socket.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close."""
        self.socket.close()


class Wire:
    """One connection. Packets that nobody asked for yet wait in `inbox`; nothing is answered by itself."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.inbox: deque[Packet] = deque()
        self.is_session_present = False
        self._buffer = bytearray()
        self._number = 0

    def send(self, *packets: bytes) -> None:
        """Send packets at once."""
        self.stream.send(b"".join(packets))

    def close(self) -> None:
        """Close without a DISCONNECT."""
        self.stream.close()

    def disconnect(self) -> None:
        """Disconnect, and return when the broker has closed the connection: it knows."""
        self.send(DISCONNECT)
        assert self.is_closed_by_broker()
        self.close()

    def drop(self) -> None:
        """End as if the network had failed, and return when the broker has closed its side: it knows."""
        self.stream.end()
        assert self.is_closed_by_broker()
        self.close()

    def log_in(self, data: bytes) -> int | None:
        """Send a CONNECT, and return the CONNACK's code; None when the connection is closed without one."""
        self.send(data)
        got = self.read()
        if got is None:
            return None
        assert (got.kind, got.flags, len(got.body)) == (Kind.CONNACK, 0, 2)
        assert got.body[0] in {0, 1}
        self.is_session_present = bool(got.body[0])
        return got.body[1]

    def read(self, seconds: float = WAIT_SECONDS) -> Packet | None:
        """Return the next packet, whatever it is; None when the broker closed the connection. Raises TimeoutError."""
        if self.inbox:
            return self.inbox.popleft()
        return self._next(time.monotonic() + seconds)

    def receive(self, kind: Kind, seconds: float = WAIT_SECONDS) -> Packet:
        """Return the next packet of a kind; others wait in the inbox, in order."""
        for position, got in enumerate(self.inbox):
            if got.kind == kind:
                del self.inbox[position]
                return got
        deadline = time.monotonic() + seconds
        while True:
            following = self._next(deadline)
            assert following is not None, f"closed before {kind.name}"
            if following.kind == kind:
                return following
            self.inbox.append(following)

    def is_closed_by_broker(self, seconds: float = WAIT_SECONDS) -> bool:
        """Whether the broker closes the connection in time; what comes before is in the inbox."""
        deadline = time.monotonic() + seconds
        try:
            while (got := self._next(deadline)) is not None:
                self.inbox.append(got)
        except TimeoutError:
            return False
        return True

    def new_number(self) -> int:
        """Return a packet id that this connection has not used."""
        self._number += 1
        return self._number

    def subscribe(self, *filters: str | bytes, qos: int = 0) -> list[int]:
        """Subscribe, and return the SUBACK's codes."""
        number = self.new_number()
        self.send(subscribe(number, *((topic_filter, qos) for topic_filter in filters)))
        got = self.receive(Kind.SUBACK)
        assert number_of(got) == number
        return list(got.body[2:])

    def unsubscribe(self, *filters: str | bytes) -> None:
        """Unsubscribe, and return after the UNSUBACK."""
        number = self.new_number()
        self.send(unsubscribe(number, *filters))
        assert self.receive(Kind.UNSUBACK).body == number.to_bytes(2, "big")

    def publish(self, topic: str | bytes, payload: bytes = b"x", *, qos: int = 0, retain: bool = False) -> None:
        """Publish and finish the handshake; at QoS 0, return when the broker has handled it."""
        number = self.new_number()
        self.send(publish(topic, payload, qos=qos, number=number, retain=retain))
        if not qos:
            self.settle()
        elif qos == 1:
            assert number_of(self.receive(Kind.PUBACK)) == number
        else:
            assert number_of(self.receive(Kind.PUBREC)) == number
            self.send(acknowledgement(Kind.PUBREL, number))
            assert number_of(self.receive(Kind.PUBCOMP)) == number

    def settle(self) -> None:
        """Return when the broker has handled all that was sent, and all that it sent before that is in the inbox."""
        self.send(PINGREQ)
        self.receive(Kind.PINGRESP)

    def publication(self, seconds: float = WAIT_SECONDS) -> Publication:
        """Return the next message, without acknowledging it."""
        return publication_of(self.receive(Kind.PUBLISH, seconds))

    def delivery(self, seconds: float = WAIT_SECONDS) -> Publication:
        """Return the next message and finish its handshake."""
        got = self.publication(seconds)
        self.finish(got)
        return got

    def finish(self, got: Publication) -> None:
        """Acknowledge a message, to the end of its handshake."""
        if got.qos == 1:
            self.send(acknowledgement(Kind.PUBACK, got.number))
        elif got.qos:
            self.send(acknowledgement(Kind.PUBREC, got.number))
            assert number_of(self.receive(Kind.PUBREL)) == got.number
            self.send(acknowledgement(Kind.PUBCOMP, got.number))

    def publications(self) -> list[Publication]:
        """Return every message that has come until now, without acknowledging any."""
        self.settle()
        found = [publication_of(got) for got in self.inbox if got.kind == Kind.PUBLISH]
        self.inbox = deque(got for got in self.inbox if got.kind != Kind.PUBLISH)
        return found

    def payloads(self) -> list[bytes]:
        """Return what the messages say that have come until now."""
        return [got.payload for got in self.publications()]

    def _next(self, deadline: float) -> Packet | None:
        while (got := self._cut()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            data = self.stream.receive(left)
            if not data:
                return None
            self._buffer += data
        return got

    def _cut(self) -> Packet | None:
        """Take the first packet off the buffer, if all of it is there."""
        length = shift = 0
        for position in range(1, min(5, len(self._buffer))):
            digit = self._buffer[position]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                end = position + 1 + length
                if len(self._buffer) < end:
                    return None
                got = Packet(self._buffer[0] >> 4, self._buffer[0] & 0x0F, bytes(self._buffer[position + 1 : end]))
                del self._buffer[:end]
                return got
        return None
