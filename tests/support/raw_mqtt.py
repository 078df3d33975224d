"""MQTT 3.1.1 byte by byte, for what a well-behaved client can't send."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CONNACK", "PUBACK", "PUBLISH", "SUBACK", "Packet", "RawMqtt", "connect", "publish", "subscribe"]

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
CLEAN, WILL, WILL_RETAIN, WITH_PASSWORD, WITH_USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80


@dataclass(frozen=True, slots=True)
class Packet:
    """A control packet as it came."""

    kind: int
    flags: int
    body: bytes


def packet(kind: int, flags: int, body: bytes) -> bytes:
    """Put a fixed header before a body (MQTT 3.1.1, 2.2)."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | 0x80 if length else digit)
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def text(value: str | bytes) -> bytes:
    """Put a length of two bytes before a string (1.5.3)."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def connect(
    client_id: str | bytes,
    *,
    username: str | bytes | None = None,
    password: str | bytes | None = None,
    clean: bool = True,
    will: tuple[str | bytes, bytes] | None = None,
    will_retain: bool = False,
    protocol: str = "MQTT",
    level: int = 4,
    keep_alive_seconds: int = 60,
) -> bytes:
    """Return a CONNECT (3.1); level 5 has an empty list of properties."""
    flags = CLEAN if clean else 0
    payload = text(client_id)
    if will is not None:
        flags |= WILL | (WILL_RETAIN if will_retain else 0)
        payload += (b"\0" if level == 5 else b"") + text(will[0]) + text(will[1])
    if username is not None:
        flags |= WITH_USERNAME
        payload += text(username)
    if password is not None:
        flags |= WITH_PASSWORD
        payload += text(password)
    header = text(protocol) + bytes([level, flags]) + keep_alive_seconds.to_bytes(2, "big")
    return packet(CONNECT, 0, header + (b"\0" if level == 5 else b"") + payload)


def subscribe(number: int, filters: Sequence[str | bytes], qos: int = 0) -> bytes:
    """Return a SUBSCRIBE (3.8)."""
    body = b"".join(text(topic_filter) + bytes([qos]) for topic_filter in filters)
    return packet(SUBSCRIBE, 2, number.to_bytes(2, "big") + body)


def publish(topic: str | bytes, payload: bytes, *, qos: int = 0, number: int = 1, retain: bool = False) -> bytes:
    """Return a PUBLISH (3.3)."""
    identifier = number.to_bytes(2, "big") if qos else b""
    return packet(PUBLISH, qos << 1 | int(retain), text(topic) + identifier + payload)


class RawMqtt:
    """A TCP connection to a broker."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without a DISCONNECT."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def receive(self, kind: int | None = None) -> Packet | None:
        """Return the next packet, or the next of a kind; None when the broker closed the connection."""
        while True:
            got = self._next()
            if got is None or kind in {None, got.kind}:
                return got

    def log_in(self, data: bytes) -> tuple[int, int] | None:
        """Send a CONNECT; return session-present and return code of the CONNACK, or None without one."""
        self.send(data)
        answer = self.receive()
        if answer is None:
            return None
        assert answer.kind == CONNACK
        assert len(answer.body) == 2
        return answer.body[0], answer.body[1]

    def is_closed_by_broker(self) -> bool:
        """Whether the broker closes the connection; waits for it, past packets that come before."""
        while self.receive() is not None:
            pass
        return True

    def _next(self) -> Packet | None:
        head = self._take(1)
        if head is None:
            return None
        length, shift = 0, 0
        while True:
            digit = self._take(1)
            if digit is None:
                return None
            length |= (digit[0] & 0x7F) << shift
            shift += 7
            if not digit[0] & 0x80:
                break
        body = self._take(length)
        return None if body is None else Packet(head[0] >> 4, head[0] & 0x0F, body)

    def _take(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            try:
                data = self._socket.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
