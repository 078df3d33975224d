"""How much one read from a client returns."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.broker.transport.listening import RECEIVE_BUFFER_BYTES, listen
from fleetkey.operations import Descriptors
from fleetkey.tls import Handshakes
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


SENT = 1_000_000


class Reader(asyncio.Protocol):
    """Notes how much arrives at once, once it is told to read."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.transport: Any = None
        self.buffer_bytes = 0
        self.is_complete = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait until a lot has arrived."""
        self.transport = transport
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            self.buffer_bytes = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def data_received(self, data: bytes) -> None:
        """Note it."""
        self.sizes.append(len(data))
        if sum(self.sizes) == SENT:
            self.is_complete.set()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_receive_buffer(tmp_path: Path, *, is_tls: bool) -> None:
    """A connection's receive buffer is small, whatever the system's default is; Linux doubles what is asked for."""
    context = None
    if is_tls:
        certificate = make_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
    readers: list[Reader] = []

    def factory() -> Reader:
        readers.append(Reader())
        return readers[-1]

    handshakes = Handshakes("mqtt", Descriptors(), most=10, most_per_address=10)
    server = await listen(
        factory, "127.0.0.1", 0, context, descriptors=Descriptors(), handshakes=handshakes, handshake_seconds=5.0
    )
    port = next(iter(server.sockets)).getsockname()[1]
    client_context = None
    if is_tls:
        client_context = ssl.create_default_context(cafile=certificate.certificate)
        client_context.check_hostname = False
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context)
    writer.write(bytes(SENT))
    await asyncio.wait_for(writer.drain(), 5)
    (reader,) = readers
    await asyncio.wait_for(reader.is_complete.wait(), 5)
    assert reader.buffer_bytes == 2 * RECEIVE_BUFFER_BYTES
    assert max(reader.sizes) <= 2 * RECEIVE_BUFFER_BYTES
    writer.close()
    server.close()
