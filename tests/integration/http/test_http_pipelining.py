"""What one HTTP connection may pile up: requests that it doesn't wait for, and bytes that are no request's content."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from fleetkey.http import connections as http_connections
from fleetkey.http import protocol as http_protocol
from fleetkey.http.framing import MAX_FRAMING_BYTES, MAX_HEADERS, MAX_PIECE_BYTES
from fleetkey.http.protocol import MAX_PIPELINED_REQUESTS, MAX_QUEUED_BYTES, MAX_UNREAD_BODY_BYTES
from tests.integration.http.http_rig import Client, Rig, running, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READ_BYTES = 256 * 1024
"""What an event loop reads at once."""
CHUNKED = b"POST /chunked HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Run a server."""
    async with running() as rig:
        yield rig


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[Client]:
    """Connect to it."""
    async with rig.client() as client:
        yield client


async def test_pipelined(rig: Rig, client: Client) -> None:
    """Of thousands of requests eight are taken, a read is held, and no more is read; all are answered, in order."""
    count = 12_000
    client.send(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(count)))
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.held_bytes > 0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert protocol.unanswered == MAX_PIPELINED_REQUESTS
    assert protocol.flow.read_paused
    assert protocol.held_bytes <= READ_BYTES
    assert rig.server.bounds_reached == {"max_pipelined_requests": 1}
    rig.app.gate.set()
    for _ in range(count):
        assert (await client.answer())[0] == 200
        assert protocol.unanswered <= MAX_PIPELINED_REQUESTS
        assert protocol.held_bytes <= READ_BYTES
    assert rig.app.paths == [f"/{number}" for number in range(count)]
    assert protocol.held_bytes == 0
    assert await soon(lambda: not protocol.flow.read_paused)


async def test_pipelined_unread(rig: Rig, client: Client) -> None:
    """Whoever doesn't read its answers is read no further: what waits for it is one answer above the high water."""
    rig.app.answer_bytes = HIGH_WATER_LIMIT
    rig.app.gate.set()
    cast("asyncio.Transport", client.writer.transport).pause_reading()
    client.send(b"GET / HTTP/1.1\r\n\r\n" * 20_000)
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.flow.write_paused and protocol.unanswered == MAX_PIPELINED_REQUESTS)
    served = len(rig.app.paths)
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert len(rig.app.paths) == served
    assert protocol.unanswered == MAX_PIPELINED_REQUESTS
    assert protocol.flow.read_paused
    assert protocol.held_bytes <= READ_BYTES
    assert protocol.transport.get_write_buffer_size() <= 2 * HIGH_WATER_LIMIT + 1024


@pytest.mark.parametrize("size", [10, 10_000, 200_000])
async def test_pipelined_bodies(rig: Rig, client: Client, size: int) -> None:
    """Bodies that wait for their turn are bounded together; each gets to its own request."""
    count = 2 * MAX_PIPELINED_REQUESTS
    bodies = [bytes([65 + number]) * size for number in range(count)]
    client.send(b"".join(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) for body in bodies))
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.flow.read_paused)
    queued = [cycle for cycle, _ in protocol.pipeline]
    assert sum(len(cycle.body) for cycle in queued) <= MAX_QUEUED_BYTES + MAX_PIECE_BYTES
    assert len(queued) < MAX_PIPELINED_REQUESTS
    rig.app.gate.set()
    assert [(await client.answer())[2] for _ in bodies] == bodies


async def test_pipelined_large_body_waits(rig: Rig, client: Client) -> None:
    """A body that is too large to wait stays with the bytes that are held until its request runs."""
    body = b"x" * 1_000_000
    client.send(b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.flow.read_paused)
    assert await soon(lambda: protocol.held_bytes > 0)
    assert len(protocol.cycle.body) <= MAX_QUEUED_BYTES + MAX_PIECE_BYTES
    assert protocol.held_bytes <= READ_BYTES
    rig.app.gate.set()
    assert (await client.answer())[0] == 200
    assert (await client.answer())[2] == body


async def test_body_that_is_not_read(rig: Rig, client: Client) -> None:
    """Of a body that its request doesn't read yet, little is parsed, the rest is held, and all of it arrives."""
    body = b"x" * 1_000_000
    client.send(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.flow.read_paused)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(protocol.cycle.body) <= 2 * MAX_UNREAD_BODY_BYTES
    assert protocol.held_bytes <= READ_BYTES
    rig.app.gate.set()
    assert (await client.answer())[2] == body
    assert rig.server.bounds_reached == {}


async def test_pipelined_chunked(rig: Rig, client: Client) -> None:
    """Beyond eight requests in one piece of a chunked body the connection ends with the eighth answer, and says so."""
    client.send((CHUNKED + b"1\r\nx\r\n0\r\n\r\n") * 20)
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.unanswered == MAX_PIPELINED_REQUESTS)
    rig.app.gate.set()
    answers = [await client.answer() for _ in range(MAX_PIPELINED_REQUESTS)]
    assert [body for _, _, body in answers] == [b"x"] * MAX_PIPELINED_REQUESTS
    assert [b"connection: close" in head for _, head, _ in answers] == [False] * (MAX_PIPELINED_REQUESTS - 1) + [True]
    assert await client.is_closed()
    assert len(rig.app.paths) == MAX_PIPELINED_REQUESTS


async def test_held_by_all(rig: Rig, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all connections together hold too much, one that would hold more ends with the requests it has."""
    monkeypatch.setattr(http_connections, "MAX_HELD_BYTES", 1_000)
    client.send(b"GET / HTTP/1.1\r\n\r\n" * 1_000)
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.unanswered == MAX_PIPELINED_REQUESTS)
    assert protocol.held_bytes == 0
    assert rig.server.bounds_reached["max_held_bytes"] == 1
    rig.app.gate.set()
    heads = [(await client.answer())[1] for _ in range(MAX_PIPELINED_REQUESTS)]
    assert b"connection: close" in heads[-1]
    assert await client.is_closed()


async def test_held_by_client_that_leaves(rig: Rig) -> None:
    """What a connection held is free when it is gone."""
    async with rig.client() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n" * 1_000)
        protocol = await rig.protocol()
        assert await soon(lambda: protocol.held_bytes > 0)
        assert protocol._shared.held_bytes == protocol.held_bytes
    rig.app.gate.set()
    assert await soon(lambda: protocol.held_bytes == 0)
    assert protocol._shared.held_bytes == 0


@pytest.mark.parametrize(
    ("second", "status"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="malformed"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431, id="many_headers"),
        pytest.param(CHUNKED + b"zz\r\n", 400, id="malformed_body"),
        pytest.param(CHUNKED + b"0\r\n" + b"a: b\r\n" * MAX_FRAMING_BYTES, 431, id="trailers"),
    ],
)
async def test_refused_in_turn(rig: Rig, client: Client, second: bytes, status: int) -> None:
    """A request that can't be taken is answered after those before it, and the connection is closed."""
    client.send(b"GET / HTTP/1.1\r\n\r\n" + second)
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.unanswered == 1 and not protocol.pipeline)
    rig.app.gate.set()
    assert (await client.answer())[0] == 200
    assert (await client.answer())[0] == status
    assert await client.is_closed()
    assert len(rig.app.paths) == 1


async def test_next_body_is_slow(rig: Rig, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipelined request's body isn't hurried because the request before it was answered."""
    monkeypatch.setattr(http_protocol, "DRAIN_SECONDS", 0.01)
    client.send(b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 2\r\n\r\na")
    rig.app.gate.set()
    assert (await client.answer())[0] == 200
    await asyncio.sleep(0.1)
    client.send(b"b")
    assert (await client.answer())[2] == b"ab"


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000, id="trailers"),
        pytest.param(CHUNKED + b"0\r\n" + b"a" * 100_000, id="trailer_name"),
        pytest.param(CHUNKED + b"0\r\na: " + b"b" * 100_000, id="trailer_value"),
        pytest.param(CHUNKED + b"1;" + b"a" * 100_000, id="extension"),
        pytest.param(CHUNKED + b"0" * 100_000, id="zeros_of_a_size"),
        pytest.param(CHUNKED + b"1;aaaaaaaaaaaaaaaa\r\nx\r\n" * 4_000, id="extensions"),
    ],
)
@pytest.mark.parametrize("size", [1_000, 200_000], ids=["in_pieces", "at_once"])
async def test_framing(rig: Rig, client: Client, endless: bytes, size: int) -> None:
    """Bytes around a body's content are bounded, so the parser holds no more of them: then 431, and the end."""
    rig.app.gate.set()
    protocol = await rig.protocol()
    for start in range(0, len(endless), size):
        if not rig.server.bounds_reached:
            client.send(endless[start : start + size])
            await asyncio.sleep(0.001)
    assert (await client.answer())[0] == 431
    assert await client.is_closed()
    framing = protocol._framing
    assert MAX_FRAMING_BYTES < framing._framing_bytes <= 9 * framing._body_bytes + MAX_FRAMING_BYTES + MAX_PIECE_BYTES
    assert rig.server.bounds_reached == {"max_framing_bytes": 1}


async def test_trailers(rig: Rig, client: Client) -> None:
    """A few trailers are discarded, and become no headers (RFC 9110, 6.5.1); single-byte chunks are taken."""
    rig.app.gate.set()
    client.send(CHUNKED + b"1\r\nx\r\n" * 8_192 + b"0\r\nx-forwarded-for: 192.0.2.1\r\nauthorization: x\r\n\r\n")
    assert (await client.answer())[2] == b"x" * 8_192
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert (await client.answer())[0] == 200
    assert rig.app.headers == [[(b"transfer-encoding", b"chunked")], []]
    assert rig.server.bounds_reached == {}


async def test_many_headers(rig: Rig, client: Client) -> None:
    """Headers are bounded in number, as a short one costs many times its bytes."""
    rig.app.gate.set()
    client.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEADERS + b"\r\n")
    assert (await client.answer())[0] == 200
    client.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n")
    assert (await client.answer())[0] == 431
    assert rig.server.bounds_reached == {"max_headers": 1}
    assert await client.is_closed()


async def test_empty_lines(rig: Rig, client: Client) -> None:
    """Empty lines before a request are bounded like its headers."""
    client.send(b"\r\n" * 20_000)
    assert (await client.answer())[0] == 431
    assert rig.server.bounds_reached == {"max_header_bytes": 1}
    assert await client.is_closed()


@pytest.mark.parametrize("kind", ["at_once", "split"])
async def test_upgrade(rig: Rig, client: Client, kind: str) -> None:
    """`Upgrade` is ignored: the request keeps its body, and the body isn't parsed as a request."""
    rig.app.gate.set()
    body = b"GET /smuggled HTTP/1.1\r\n\r\n"
    head = b"POST /real HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n" % len(body)
    protocol = await rig.protocol()
    client.send(head)
    if kind == "split":
        assert await soon(lambda: protocol.unanswered == 1)
    client.send(body + b"GET /next HTTP/1.1\r\n\r\n")
    assert (await client.answer())[2] == body
    assert (await client.answer())[0] == 200
    assert rig.app.paths == ["/real", "/next"]


async def test_upgrade_chunked(rig: Rig, client: Client) -> None:
    """`Upgrade` with a chunked body is refused, and nothing of the body is parsed as a request."""
    client.send(
        b"POST / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
        b"18\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"
    )
    assert (await client.answer())[0] == 400
    assert await client.is_closed()
    assert rig.app.paths == []


async def test_last_request(rig: Rig, client: Client) -> None:
    """After `Connection: close` nothing more is parsed, and nothing held."""
    client.send(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 2_000)
    protocol = await rig.protocol()
    assert await soon(lambda: protocol.unanswered == 1)
    rig.app.gate.set()
    assert (await client.answer())[0] == 200
    assert await client.is_closed()
    assert rig.app.paths == ["/"]
    assert rig.server.bounds_reached == {}


async def test_expect_and_head(rig: Rig, client: Client) -> None:
    """100 Continue comes when it is its request's turn; an answer to HEAD has no body."""
    client.send(b"HEAD / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    rig.app.answer_bytes = 5
    rig.app.gate.set()
    assert (await client.answer(has_body=False))[0] == 200
    assert (await client.answer())[0] == 100
    client.send(b"ab")
    assert (await client.answer())[2] == b"ab" + bytes(5)
