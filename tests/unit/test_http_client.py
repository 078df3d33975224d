"""The HTTP client against servers that may respond with anything."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fleetkey.config import SettingsError
from fleetkey.http_client import HttpClient, RequestFailedError, ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MAX_BYTES = 1000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers each request with the same bytes."""

    answer: bytes
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request on a connection until the client closes it."""
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
async def _serving(answer: bytes) -> AsyncIterator[tuple[HttpClient, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = HttpClient(f"http://127.0.0.1:{port}/x", ca_file=None, setting="x", max_connections=1)
    try:
        yield client, server
    finally:
        await client.close()
        listening.close()
        await listening.wait_closed()


async def _post(client: HttpClient) -> tuple[int, bytes]:
    return await client.post(b"body", {"X-Signed": "yes"}, timeout_seconds=5, max_bytes=MAX_BYTES)


async def test_post() -> None:
    """Body and headers arrive, the response is returned unchanged, and the connection is reused."""
    async with _serving(OK) as (client, server):
        assert [await _post(client) for _ in range(3)] == [(200, b"ok")] * 3
        assert len(server.requests) == 3
        assert b"POST /x HTTP/1.1" in server.requests[0]
        assert b"X-Signed: yes" in server.requests[0]


@pytest.mark.parametrize("cookie", [b"a=b", b"session=caf\xc3\xa9", b"\xff\xfe=\x80", b"a=" + b"x" * 3000])
async def test_post_after_cookies(cookie: bytes) -> None:
    """Cookies are dropped, so none can grow the next request or prevent it."""
    async with _serving(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: " + cookie + b"\r\n\r\n")) as (client, server):
        assert [await _post(client) for _ in range(3)] == [(200, b"ok")] * 3
        assert len(set(server.requests)) == 1


@pytest.mark.parametrize(
    "location", [b"/y", b"https://xn--a/", b"http://xn--999/", b"http://[", b"\xff", b"file:///etc/x"]
)
async def test_post_redirected(location: bytes) -> None:
    """A redirect is a status like any other, and is never followed."""
    answer = b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    async with _serving(answer) as (client, server):
        assert [await _post(client) for _ in range(2)] == [(301, b"")] * 2
        assert len(server.requests) == 2


async def test_post_past_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy from the environment is ignored: the request goes straight to its address."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with _serving(OK) as (client, server):
        assert await _post(client) == (200, b"ok")
        assert len(server.requests) == 1


async def test_post_too_large() -> None:
    """A longer response is not read to its end; its status is known, and the next request uses a new connection."""
    async with _serving(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000) as (client, _):
        for _ in range(2):
            with pytest.raises(ResponseTooLargeError) as found:
                await _post(client)
            assert found.value.status == 200


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n", b"\x00" * 100],
)
async def test_post_invalid_http(answer: bytes) -> None:
    """A response that isn't HTTP is one error, and the address isn't in its message."""
    async with _serving(answer) as (client, _):
        with pytest.raises(RequestFailedError) as found:
            await _post(client)
        assert "127.0.0.1" not in str(found.value)


async def test_post_too_slow() -> None:
    """A response that never ends is a timeout."""
    async with _serving(b"HTTP/1.1 200 OK\r\n") as (client, _):
        with pytest.raises(TimeoutError):
            await client.post(b"body", {}, timeout_seconds=0.1, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_unusable_ca_file(tmp_path: Path, content: str | None) -> None:
    """A missing or malformed CA file is a settings error that names the setting and the file."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(SettingsError, match=r"^setting x\.ca_file: .*ca\.pem can't be used: "):
        HttpClient("https://fleet.example.com", ca_file=ca_file, setting="x.ca_file", max_connections=1)
