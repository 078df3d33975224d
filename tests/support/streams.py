"""Connections that carry whatever bytes a test says, when it says so: TCP, TLS, and a WebSocket over either."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from contextlib import suppress
from typing import Protocol, Self

from tests.support.waiting import WAIT_SECONDS

__all__ = [
    "BINARY_FRAME",
    "CLOSE_FRAME",
    "NORMAL",
    "PING_FRAME",
    "PONG_FRAME",
    "UPGRADE",
    "Stream",
    "TcpStream",
    "TlsStream",
    "WebSocketStream",
    "frame",
    "frames_of",
    "read_all",
]

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
BINARY_FRAME, CLOSE_FRAME, PING_FRAME, PONG_FRAME = 0x82, 0x88, 0x89, 0x8A
NORMAL = b"\x03\xe8"
"""What a close frame holds when nothing is wrong."""
MASK = bytes.fromhex("37fa213d")
MASKED, LENGTH_OF_TWO_BYTES, LENGTH_OF_EIGHT_BYTES = 0x80, 126, 127
READ_BYTES = 65_536


class Stream(Protocol):
    """Bytes in both directions."""

    @property
    def raw(self) -> socket.socket:
        """The socket at the bottom."""

    def send(self, data: bytes, seconds: float = WAIT_SECONDS) -> None:
        """Send. Raises TimeoutError, and ConnectionError when the other side doesn't take it any more."""

    def receive(self, seconds: float = WAIT_SECONDS) -> bytes:
        """Return what comes next; nothing at the end. Raises TimeoutError, and ConnectionError after a reset."""

    def end(self) -> None:
        """End this side, and read nothing."""

    def close(self) -> None:
        """Close the socket, whatever is under way."""


class TcpStream:
    """A TCP connection.

    Args:
        port: the server's.
        data: what is sent at once.
        source: the loopback address that it comes from; empty = the system's choice.
        receive_buffer: bytes that wait in the kernel at most; 0 = the system's default.
    """

    def __init__(self, port: int, data: bytes = b"", *, source: str = "", receive_buffer: int = 0) -> None:
        self.raw = socket.socket()
        try:
            if receive_buffer:
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.raw.settimeout(WAIT_SECONDS)
            if source:
                self.raw.bind((source, 0))
            self.raw.connect(("127.0.0.1", port))
            # Closing with something unread takes back what the kernel didn't send yet.
            self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.raw.sendall(data)
        except BaseException:
            self.raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes, seconds: float = WAIT_SECONDS) -> None:
        """Send."""
        self.raw.settimeout(seconds)
        self.raw.sendall(data)

    def receive(self, seconds: float = WAIT_SECONDS) -> bytes:
        """Return what comes next."""
        self.raw.settimeout(max(seconds, 0.001))
        return self.raw.recv(READ_BYTES)

    def end(self) -> None:
        """End this side."""
        self.raw.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close."""
        self.raw.close()


class TlsStream:
    """The same over TLS, with any certificate.

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
        self._tcp = TcpStream(port, receive_buffer=receive_buffer)
        self.raw = self._tcp.raw
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self._flush()
                    self._fill(WAIT_SECONDS)
            if data:
                self._tls.write(data)
            if ends:
                self._end()
            self._flush()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def certificate(self) -> bytes:
        """The server's certificate (DER)."""
        return self._tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes, seconds: float = WAIT_SECONDS) -> None:
        """Send."""
        self._tls.write(data)
        self._flush(seconds)

    def receive(self, seconds: float = WAIT_SECONDS) -> bytes:
        """Return what comes next; nothing when the server has ended TLS. What ends otherwise raises an `OSError`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                self._fill(deadline - time.monotonic())
            except ssl.SSLZeroReturnError:
                return b""

    def end(self) -> None:
        """Send close_notify, and read nothing."""
        self._end()
        self._flush()

    def close(self) -> None:
        """Close without close_notify."""
        self._tcp.close()

    def _end(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()

    def _flush(self, seconds: float = WAIT_SECONDS) -> None:
        self._tcp.send(self._outgoing.read(), seconds)

    def _fill(self, seconds: float) -> None:
        data = self._tcp.receive(seconds)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class WebSocketStream:
    """A WebSocket (RFC 6455) that was upgraded; what is sent at once is one binary frame.

    Args:
        under: what carries it; frames of its own making can be sent there.
    """

    def __init__(self, under: Stream) -> None:
        self.under = under
        self._buffer = b""
        try:
            under.send(UPGRADE)
            while b"\r\n\r\n" not in self._buffer:
                self._fill_before_the_end()
            answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 "), answer
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def raw(self) -> socket.socket:
        """The socket at the bottom."""
        return self.under.raw

    def send(self, data: bytes, seconds: float = WAIT_SECONDS) -> None:
        """Send one binary frame."""
        self.under.send(frame(data), seconds)

    def send_frame(self, first: int, data: bytes) -> None:
        """Send a frame with any first byte."""
        self.under.send(frame(data, first))

    def receive(self, seconds: float = WAIT_SECONDS) -> bytes:
        """Return the content of the next message, which must be binary and in one frame; a close frame is answered."""
        deadline = time.monotonic() + seconds
        while (got := self.receive_frame(deadline - time.monotonic())) is not None:
            first, content = got
            if first == CLOSE_FRAME:
                self.send_frame(CLOSE_FRAME, content)
                break
            if first != PONG_FRAME:
                assert first == BINARY_FRAME, first
                return content
        return b""

    def receive_frame(self, seconds: float = WAIT_SECONDS) -> tuple[int, bytes] | None:
        """Return the first byte and the content of the next frame; None at the end."""
        deadline = time.monotonic() + seconds
        while (found := _first_frame(self._buffer)) is None:
            if not self._fill(deadline - time.monotonic()):
                return None
        first, content, self._buffer = found
        return first, content

    def end(self) -> None:
        """End without a close frame."""
        self.under.end()

    def close(self) -> None:
        """Close without a closing handshake."""
        self.under.close()

    def _fill_before_the_end(self) -> None:
        if not self._fill(WAIT_SECONDS):
            msg = "no answer to the upgrade"
            raise ConnectionResetError(msg)

    def _fill(self, seconds: float) -> bytes:
        data = self.under.receive(seconds)
        self._buffer += data
        return data


def read_all(stream: Stream, *, websocket: bool = False) -> bytes:
    """Return everything up to the end; a WebSocket's normal close frame is answered, as it has to be."""
    data, close = b"", bytes([CLOSE_FRAME, len(NORMAL)]) + NORMAL
    while part := stream.receive():
        data += part
        if websocket and data.endswith(close):
            stream.send(frame(NORMAL, CLOSE_FRAME))
    return data


def frame(data: bytes, first: int = BINARY_FRAME) -> bytes:
    """Return a client's frame, by default a binary one (RFC 6455, 5.2)."""
    length = len(data)
    if length < LENGTH_OF_TWO_BYTES:
        head = bytes([first, MASKED | length])
    elif length <= 0xFFFF:
        head = bytes([first, MASKED | LENGTH_OF_TWO_BYTES]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, MASKED | LENGTH_OF_EIGHT_BYTES]) + length.to_bytes(8, "big")
    mask = (MASK * (length // len(MASK) + 1))[:length]
    return head + MASK + (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return the first byte and the content of each of a server's frames, of which none may be cut."""
    found = []
    while data:
        cut = _first_frame(data)
        assert cut is not None, data
        first, content, data = cut
        found.append((first, content))
    return found


def _first_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the first byte and the content of a server's first frame, and what comes behind it; None if it is cut."""
    if len(data) < 2:
        return None
    length = data[1]
    start = {LENGTH_OF_TWO_BYTES: 4, LENGTH_OF_EIGHT_BYTES: 10}.get(length, 2)
    if start > 2:
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    return None if len(data) < max(start, end) else (data[0], data[start:end], data[end:])
