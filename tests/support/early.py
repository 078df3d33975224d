"""Clients that send what they have with the first segment they can: over TLS, with the end of the handshake."""

from __future__ import annotations

import base64
import socket
import ssl
from contextlib import suppress
from typing import Self

from tests.support.waiting import WAIT_SECONDS

__all__ = ["CLOSE_FRAME", "NORMAL", "UPGRADE", "EarlyTcp", "EarlyTls", "frame", "frames_of", "read_all"]

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
CLOSE_FRAME, NORMAL = 0x88, b"\x03\xe8"
MASKED, LENGTH_OF_TWO_BYTES, LENGTH_OF_EIGHT_BYTES = 0x80, 126, 127


class EarlyTls:
    """A connection over TLS whose every byte is sent when the test says so.

    Args:
        port: the server's.
        data: what is sent in the segment that ends the handshake.
        ends: whether close_notify is in that segment, too.
        receive_buffer: bytes that wait in the kernel at most; 0 = the system's default.
    """

    def __init__(self, port: int, data: bytes = b"", *, ends: bool = False, receive_buffer: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self.raw = socket.socket()
        if receive_buffer:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.raw.settimeout(WAIT_SECONDS)
        self.raw.connect(("127.0.0.1", port))
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        if data:
            self._tls.write(data)
        if ends:
            self._end()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def send(self, data: bytes) -> None:
        """Send more."""
        self._tls.write(data)
        self._flush()

    def end(self) -> None:
        """Send close_notify, and read nothing."""
        self._end()
        self._flush()

    def read(self) -> bytes:
        """Return what comes next; nothing when the server has ended TLS. What ends otherwise raises an `OSError`."""
        while True:
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                self._fill()
            except ssl.SSLZeroReturnError:
                return b""

    def _end(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()

    def _flush(self) -> None:
        self.raw.sendall(self._outgoing.read())

    def _fill(self) -> None:
        data = self.raw.recv(65_536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class EarlyTcp:
    """The same over TCP."""

    def __init__(self, port: int, data: bytes = b"", *, receive_buffer: int = 0) -> None:
        self.raw = socket.socket()
        if receive_buffer:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.raw.settimeout(WAIT_SECONDS)
        self.raw.connect(("127.0.0.1", port))
        self.raw.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def send(self, data: bytes) -> None:
        """Send more."""
        self.raw.sendall(data)

    def end(self) -> None:
        """End this side, and read nothing."""
        self.raw.shutdown(socket.SHUT_WR)

    def read(self) -> bytes:
        """Return what comes next; nothing at the end."""
        return self.raw.recv(65_536)


def read_all(client: EarlyTcp | EarlyTls, *, websocket: bool = False) -> bytes:
    """Return everything up to the end; a WebSocket's normal close frame is answered, as it has to be."""
    data, close = b"", bytes([CLOSE_FRAME, len(NORMAL)]) + NORMAL
    while part := client.read():
        data += part
        if websocket and data.endswith(close):
            client.send(frame(NORMAL, CLOSE_FRAME))
    return data


def frame(data: bytes, first: int = 0x82) -> bytes:
    """Return a client's frame, by default a binary one; the mask is zero, which masks nothing."""
    if len(data) < LENGTH_OF_TWO_BYTES:
        head = bytes([first, MASKED | len(data)])
    elif len(data) <= 0xFFFF:
        head = bytes([first, MASKED | LENGTH_OF_TWO_BYTES]) + len(data).to_bytes(2, "big")
    else:
        head = bytes([first, MASKED | LENGTH_OF_EIGHT_BYTES]) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return the first byte and the content of each of a server's frames."""
    found = []
    while data:
        length, start = data[1], 2
        if length == LENGTH_OF_TWO_BYTES:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == LENGTH_OF_EIGHT_BYTES:
            length, start = int.from_bytes(data[2:10], "big"), 10
        found.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return found
