"""Asking somebody else's server, which may answer anything."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fleetkey.http_client import AnswerTooLargeError, AskingError, HttpClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_BYTES = 1000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers each request with the same bytes."""

    answer: bytes
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes on a connection, until it ends."""
        with closing(writer):
            try:
                while True:
                    self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                    await reader.readexactly(4)
                    writer.write(self.answer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass


@asynccontextmanager
async def _asking(answer: bytes) -> AsyncIterator[tuple[HttpClient, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    outgoing = HttpClient(f"http://127.0.0.1:{port}/x", ca_file=None, setting="x", max_connections=1)
    try:
        yield outgoing, server
    finally:
        await outgoing.close()
        listening.close()
        await listening.wait_closed()


async def _post(outgoing: HttpClient) -> tuple[int, bytes]:
    return await outgoing.post(b"body", {"X-Signed": "yes"}, timeout_seconds=5, max_bytes=MAX_BYTES)


async def test_post() -> None:
    """Body and headers arrive, and the answer comes back as it is; the connection is used again."""
    async with _asking(OK) as (outgoing, server):
        assert [await _post(outgoing) for _ in range(3)] == [(200, b"ok")] * 3
        assert len(server.requests) == 3
        assert b"POST /x HTTP/1.1" in server.requests[0]
        assert b"X-Signed: yes" in server.requests[0]


@pytest.mark.parametrize("cookie", [b"a=b", b"session=caf\xc3\xa9", b"\xff\xfe=\x80", b"a=" + b"x" * 3000])
async def test_post_after_cookies(cookie: bytes) -> None:
    """No cookie is kept, so none can grow the next request or keep it from being made."""
    async with _asking(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: " + cookie + b"\r\n\r\n")) as (outgoing, server):
        assert [await _post(outgoing) for _ in range(3)] == [(200, b"ok")] * 3
        assert len(set(server.requests)) == 1


@pytest.mark.parametrize(
    "location", [b"/y", b"https://xn--a/", b"http://xn--999/", b"http://[", b"\xff", b"file:///etc/x"]
)
async def test_post_redirected(location: bytes) -> None:
    """A redirect is a status like any other, wherever it leads."""
    answer = b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    async with _asking(answer) as (outgoing, server):
        assert [await _post(outgoing) for _ in range(2)] == [(301, b"")] * 2
        assert len(server.requests) == 2


async def test_post_too_large() -> None:
    """A longer answer is not read to its end; its status is known, and the next one is asked for anew."""
    async with _asking(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000) as (outgoing, _):
        for _ in range(2):
            with pytest.raises(AnswerTooLargeError) as found:
                await _post(outgoing)
            assert found.value.status == 200


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n", b"\x00" * 100],
)
async def test_post_no_http(answer: bytes) -> None:
    """What is no HTTP is one error, without the address in it."""
    async with _asking(answer) as (outgoing, _):
        with pytest.raises(AskingError) as found:
            await _post(outgoing)
        assert "127.0.0.1" not in str(found.value)


async def test_post_too_slow() -> None:
    """It ends in time."""
    async with _asking(b"HTTP/1.1 200 OK\r\n") as (outgoing, _):
        with pytest.raises(TimeoutError):
            await outgoing.post(b"body", {}, timeout_seconds=0.1, max_bytes=MAX_BYTES)
