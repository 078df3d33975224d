"""Requests that arrive in parts: how often they are read from, and that all of them are answered."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.http import protocol as http_protocol
from fleetkey.http.connections import MAX_PARSED_PER_TURN
from fleetkey.http.protocol import BoundedHttpProtocol
from fleetkey.turns import REST_SECONDS, RestQueue
from tests.integration.http.http_rig import Client, Rig, running, soon
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PARTS = 2_000
"""Bytes that are sent one by one."""
POST = b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabcdef"


class Reads:
    """Counts what a server reads."""

    def __init__(self) -> None:
        self.number = 0
        self.bytes = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count reads; before a connection is made, which looks the method up only once."""
    reads, real = Reads(), BoundedHttpProtocol.data_received

    def data_received(self: BoundedHttpProtocol, data: bytes) -> None:
        reads.number += 1
        reads.bytes += len(data)
        real(self, data)

    monkeypatch.setattr(BoundedHttpProtocol, "data_received", data_received)
    return reads


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Catch what ends rests, so that a test ends them."""
    caught: list[Callable[[], None]] = []
    monkeypatch.setattr(RestQueue, "add", lambda _, call: caught.append(call))
    return caught


@asynccontextmanager
async def _connected(folder: Path, *, is_tls: bool) -> AsyncIterator[tuple[Rig, Client]]:
    made = make_certificate(folder) if is_tls else None
    settings: dict[str, Any] = {"tls_cert": made.certificate, "tls_key": made.key} if made else {}
    async with running(**settings) as rig, rig.client() as client:
        if made:
            context = ssl.create_default_context(cafile=str(made.certificate))
            await client.writer.start_tls(context, server_hostname="localhost")
        yield rig, client


async def _turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    ("before", "start", "part", "end"),
    [
        pytest.param(b"", b"GET /", b"a", b" HTTP/1.1\r\n\r\n", id="line"),
        pytest.param(b"", b"GET / HTTP/1.1\r\na: ", b"a", b"\r\n\r\n", id="header"),
        pytest.param(b"", b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", id="empty_lines"),
        pytest.param(POST % 0, b"GET /", b"a", b" HTTP/1.1\r\n\r\n", id="later_request"),
    ],
)
async def test_byte_by_byte(
    tmp_path: Path, reads: Reads, before: bytes, start: bytes, part: bytes, end: bytes, *, is_tls: bool
) -> None:
    """A client that sends headers byte by byte is read from once in a while, and is answered in the end."""
    async with _connected(tmp_path, is_tls=is_tls) as (rig, client):
        rig.app.gate.set()
        if before:
            client.send(before)
            assert (await client.answer())[0] == 200
        reads.number = reads.bytes = 0
        began = asyncio.get_running_loop().time()
        client.send(start)
        for _ in range(PARTS):
            client.send(part)
            await asyncio.sleep(0)
        assert await soon(lambda: reads.bytes == len(start) + PARTS)
        # A rest may take longer than this, but not less.
        assert reads.number <= (asyncio.get_running_loop().time() - began) / REST_SECONDS + 1
        client.send(end)
        assert (await client.answer())[0] == 200


async def test_byte_by_byte_behind_a_request(tmp_path: Path, reads: Reads) -> None:
    """The same while the request before it is running."""
    async with _connected(tmp_path, is_tls=False) as (rig, client):
        client.send(b"GET /first HTTP/1.1\r\n\r\n")
        assert await soon(lambda: rig.app.paths == ["/first"])
        reads.number = reads.bytes = 0
        began = asyncio.get_running_loop().time()
        for byte in b"GET /" + b"a" * PARTS:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await soon(lambda: reads.bytes == PARTS + 5)
        assert reads.number <= (asyncio.get_running_loop().time() - began) / REST_SECONDS + 1
        rig.app.gate.set()
        client.send(b" HTTP/1.1\r\n\r\n")
        assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
        assert rig.app.paths == ["/first", f"/{'a' * PARTS}"]


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
async def test_in_two_parts(tmp_path: Path, reads: Reads, *, is_tls: bool) -> None:
    """Wherever a request is split, and whatever follows, it is answered."""
    async with _connected(tmp_path, is_tls=is_tls) as (rig, client):
        rig.app.gate.set()
        for number, split in enumerate(range(1, len(POST) + 2, 4)):
            data = POST % number + POST % number
            before = reads.bytes
            client.send(data[:split])
            assert await soon(lambda read=before + split: reads.bytes == read)  # type: ignore[misc] # of the loop
            client.send(data[split:])
            assert [(await client.answer())[2] for _ in range(2)] == [b"abcdef", b"abcdef"]


async def test_whole(tmp_path: Path, reads: Reads, rests: list[Callable[[], None]]) -> None:
    """Whole requests never wait, nor does a body in parts."""
    async with _connected(tmp_path, is_tls=False) as (rig, client):
        for number, whole in enumerate((b"GET /%d HTTP/1.1\r\n\r\n" % 0, POST % 1, POST % 2 * 5)):
            rig.app.gate.set()
            client.send(whole)
            for _ in range(5 if number == 2 else 1):
                assert (await client.answer())[0] == 200
        for body in ([b"a", b"b", b"c"], [b"3\r\nabc", b"\r\n0\r", b"\n", b"\r\n"]):
            framing = b"content-length: 3" if body[0] == b"a" else b"transfer-encoding: chunked"
            for part in (b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing, *body):
                before = reads.bytes + len(part)
                client.send(part)
                assert await soon(lambda read=before: reads.bytes == read)  # type: ignore[misc] # of the loop
            assert (await client.answer())[2] == b"abc"
    assert rests == []


async def test_answer_during_a_rest(tmp_path: Path, rests: list[Callable[[], None]]) -> None:
    """The answer to the request before doesn't end a rest."""
    async with _connected(tmp_path, is_tls=False) as (rig, client):
        client.send(b"GET /first HTTP/1.1\r\n\r\nGET /sec")
        assert await soon(lambda: len(rests) == 1)
        rig.app.gate.set()
        assert (await client.answer())[0] == 200
        client.send(b"ond HTTP/1.1\r\n\r\n")
        await _turns()
        assert rig.app.paths == ["/first"]
        rests[0]()
        assert (await client.answer())[0] == 200
        assert rig.app.paths == ["/first", "/second"]
        assert len(rests) == 1


@pytest.mark.parametrize("count", [2, 30], ids=["queued", "held"])
async def test_behind_queued_requests(tmp_path: Path, rests: list[Callable[[], None]], count: int) -> None:
    """While reading is paused until queued requests are answered, there is no rest, whose end would resume it."""
    async with _connected(tmp_path, is_tls=False) as (rig, client):
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(count)) + b"GET")
        protocol = await rig.protocol()
        assert await soon(lambda: protocol.flow.read_paused)
        await _turns()
        assert protocol.flow.read_paused
        assert rests == []
        rig.app.gate.set()
        for _ in range(count):
            assert (await client.answer())[0] == 200
        client.send(b" /last HTTP/1.1\r\n\r\n")
        assert (await client.answer())[0] == 200
        assert rig.app.paths == [*(f"/{number}" for number in range(count)), "/last"]
        assert rests == []


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
async def test_too_slow_during_a_rest(
    tmp_path: Path, rests: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch, *, is_tls: bool
) -> None:
    """Headers have their time even during a rest; the end of the rest does nothing to the closed connection."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.3)
    async with _connected(tmp_path, is_tls=is_tls) as (rig, client):
        client.send(b"GET")
        assert await soon(lambda: len(rests) == 1)
        assert (await client.answer())[0] == 408
        rests[0]()
        assert await client.is_closed()
        client.writer.close()
        assert await soon(lambda: not rig.connections())
        rests[0]()
        assert len(rests) == 1


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_client_leaves(tmp_path: Path, reads: Reads, *, is_reset: bool, is_tls: bool) -> None:
    """A client that leaves during a rest is forgotten after it."""
    async with _connected(tmp_path, is_tls=is_tls) as (rig, client):
        client.send(b"GET")
        assert await soon(lambda: reads.bytes > 0)
        assert len(rig.connections()) == 1
        if is_reset:
            client.writer.transport.abort()
        else:
            client.writer.close()
        assert await soon(lambda: not rig.connections())


async def test_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests that arrive together on many connections, so many are parsed per turn, and all are answered."""
    parsed, real = [0], BoundedHttpProtocol._feed

    def feed(self: BoundedHttpProtocol, data: bytes, at: int) -> None:
        parsed[-1] += 1
        real(self, data, at)

    async def count_turns() -> None:
        while True:
            parsed.append(0)
            await asyncio.sleep(0)

    monkeypatch.setattr(BoundedHttpProtocol, "_feed", feed)
    async with running(max_connections_per_address=0) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        clients = [await stack.enter_async_context(rig.client()) for _ in range(4 * MAX_PARSED_PER_TURN)]
        counting = asyncio.create_task(count_turns())
        for client in clients:
            client.send(b"GET /devices HTTP/1.1\r\nhost: a\r\n\r\n")
        await soon(lambda: sum(parsed) >= len(clients))
        counting.cancel()
        assert max(parsed) <= 2 * MAX_PARSED_PER_TURN
        for client in clients:
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 200")


async def test_health_is_parsed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to `/health` that arrives last isn't parsed last."""
    order, real = list[bytes](), BoundedHttpProtocol._feed

    def feed(self: BoundedHttpProtocol, data: bytes, at: int) -> None:
        order.append(data[:8])
        real(self, data, at)

    monkeypatch.setattr(BoundedHttpProtocol, "_feed", feed)
    async with running(max_connections_per_address=0) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        clients = [await stack.enter_async_context(rig.client()) for _ in range(8 * MAX_PARSED_PER_TURN)]
        for client in clients:
            client.send(b"GET /devices HTTP/1.1\r\nhost: a\r\n\r\n")
        last = await stack.enter_async_context(rig.client())
        last.send(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await last.reader.readline()).startswith(b"HTTP/1.1 200")
        assert b"GET /hea" in order
        assert order.index(b"GET /hea") < len(clients) - MAX_PARSED_PER_TURN
