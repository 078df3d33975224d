"""registration's HTTP server in this process, over an application that a test holds back and looks into."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fleetkey.config import Settings
from fleetkey.http import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from fleetkey.http.protocol import BoundedHttpProtocol

__all__ = ["App", "Client", "Rig", "running", "running_app", "soon"]


class App:
    """Answers each request with its own body, once `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.answer_bytes = 0
        """Bytes that each answer has beside."""
        self.paths: list[str] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        self.paths.append(scope["path"])
        self.headers.append(scope["headers"])
        await self.gate.wait()
        body, is_going_on = b"", True
        while is_going_on:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            is_going_on = message["more_body"]
        body += bytes(self.answer_bytes)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Client:
    """A connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send, however long it takes the server to read."""
        self.writer.write(data)

    async def answer(self, *, has_body: bool = True) -> tuple[int, bytes, bytes]:
        """Read an answer: status, headers in lower case, body."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            body = await self.reader.readexactly(length) if has_body else b""
        return int(head.split()[1]), head, body

    async def is_closed(self) -> bool:
        """Wait for the server to close the connection, with nothing more to read."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


class Rig:
    """A server and its application."""

    def __init__(self, server: HttpServer, app: App) -> None:
        self.server = server
        self.app = app

    @asynccontextmanager
    async def client(self, *, source: str = "127.0.0.1") -> AsyncIterator[Client]:
        """Connect from an address."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, local_addr=(source, 0))
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    async def protocol(self) -> BoundedHttpProtocol:
        """Return the server's side of the only connection."""
        assert await soon(lambda: len(self.connections()) == 1)
        return next(iter(self.connections()))

    def connections(self) -> set[BoundedHttpProtocol]:
        """Return the server's side of each connection."""
        inside = self.server._server
        assert inside is not None
        found: Any = inside.server_state.connections
        return set(found)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Rig]:
    """Serve on loopback with these settings of `[http]`."""
    async with running_app(App(), settings) as rig:
        yield rig


@asynccontextmanager
async def running_app(app: App, settings: Mapping[str, Any]) -> AsyncIterator[Rig]:
    """Serve an application on loopback with these settings of `[http]`."""
    server = HttpServer(Settings.model_construct().http.model_copy(update={"bind": "127.0.0.1:0", **settings}))
    await server.start(app)
    try:
        yield Rig(server, app)
    finally:
        app.gate.set()
        await server.stop()


async def soon(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so; False if it isn't for long."""
    for _ in range(2_000):
        if is_so():
            return True
        await asyncio.sleep(0.005)
    return False
