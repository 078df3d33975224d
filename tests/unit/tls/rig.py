"""A TLS client and the socket between it and the transport, without a network."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fleetkey.tls import TlsConnections, TlsTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.registry import RefusalReason

__all__ = ["Above", "Client", "Socket", "key_updates", "turn"]

KEY_UPDATE = b"\x18\x00\x00\x01\x00"
HANDSHAKE = 22


class Socket:
    """The plain transport: what is written stays here, what comes is put in by the test."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.is_reading = True
        self.has_ended = False
        self.is_closed = False
        self.tls: TlsTransport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Name the peer."""
        return {"peername": ("192.0.2.1", 1)}.get(name, default)

    def write(self, data: bytes) -> None:
        """Keep what is sent."""
        assert not self.has_ended
        self.sent += data

    def write_eof(self) -> None:
        """Note the end of what is sent."""
        self.has_ended = True

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.is_closed

    def close(self) -> None:
        """Close; the transport hears of it in the next turn."""
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.tls.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Note that nothing is read."""
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        """Note that it is read again."""
        assert not self.is_reading
        self.is_reading = True

    def feed(self, data: bytes) -> None:
        """Let bytes come, as far as the transport reads; nothing else is kept."""
        view = memoryview(data)
        while view:
            buffer = self.tls.get_buffer(-1)
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.tls.buffer_updated(size)
            view = view[size:]


class Above(asyncio.Protocol):
    """The protocol above, which notes what it is told."""

    def __init__(self) -> None:
        self.transport: TlsTransport | None = None
        self.came: list[bytes] = []
        self.events: list[str] = []
        self.closed_for: list[tuple[str, str]] = []

    @property
    def data(self) -> bytes:
        """All that came."""
        return b"".join(self.came)

    def connection_made(self, transport: Any) -> None:
        """Note it."""
        self.transport = transport
        self.events.append("made")

    def note_closed(self, why: RefusalReason, detail: str = "") -> None:
        """Keep why it is closed."""
        self.closed_for.append((why.value, detail))

    def data_received(self, data: bytes) -> None:
        """Keep the data."""
        self.came.append(data)

    def eof_received(self) -> None:
        """Note it."""
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        del exc
        self.events.append("lost")


class Client:
    """A client of the transport, and both its sides."""

    def __init__(self, shared: TlsConnections, context: ssl.SSLContext) -> None:
        self.socket, self.above = Socket(), Above()
        self.ended_handshakes = 0
        self.transport = TlsTransport(shared, lambda: self.above, "192.0.2.1", self._count)
        self.socket.tls = self.transport
        self.transport.connection_made(self.socket)  # type: ignore[arg-type] # the part of it that is used
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)

    def _count(self) -> None:
        self.ended_handshakes += 1

    def take(self) -> None:
        """Take what was sent to it."""
        self._incoming.write(bytes(self.socket.sent))
        self.socket.sent.clear()

    def step(self) -> bytes:
        """Take a step of the handshake, and return what is to be sent."""
        self.take()
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def sent(self) -> bytes:
        """Return what it has to send."""
        return self._outgoing.read()

    async def shake_hands(self) -> None:
        """Send all that a handshake needs."""
        for _ in range(4):
            if data := self.step():
                self.socket.feed(data)
            await turn()
        assert self.above.events == ["made"]

    def encrypt(self, data: bytes) -> bytes:
        """Return the records for some data."""
        self.tls.write(data)
        return self._outgoing.read()

    def end(self) -> bytes:
        """Return the record that ends TLS."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        return self._outgoing.read()

    def read(self) -> bytes:
        """Return the data that was sent to it; nothing if TLS has ended."""
        self.take()
        return self.tls.read(65_536)


async def turn(times: int = 1) -> None:
    """Let the loop turn."""
    for _ in range(times):
        await asyncio.sleep(0)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """Return HKDF-Expand-Label of RFC 8446, 7.1, without a context."""
    name = b"tls13 " + label
    return HKDFExpand(SHA384(), length, length.to_bytes(2) + bytes([len(name)]) + name + b"\0").derive(secret)


def key_updates(keylog: Path) -> Iterator[bytes]:
    """Return the records that change a TLS 1.3 client's key, one after the other (RFC 8446, 4.6.3).

    Args:
        keylog: what the client's `keylog_filename` names. It must not have sent anything after its handshake.
    """
    lines = [line.split() for line in keylog.read_text().splitlines()]
    secret = bytes.fromhex(next(words[2] for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0"))
    while True:
        key, nonce = _expand(secret, b"key", 32), _expand(secret, b"iv", 12)
        content = KEY_UPDATE + bytes([HANDSHAKE])
        header = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2)
        yield header + AESGCM(key).encrypt(nonce, content, header)
        secret = _expand(secret, b"traffic upd", 48)
