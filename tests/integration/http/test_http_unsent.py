"""Answers that clients don't read are bounded: for all of them, and for each address."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

from fleetkey.http import unsent
from fleetkey.http.unsent import WRITE_BUFFER_BYTES
from tests.integration.http.http_rig import App, Client, Rig, running, running_app, soon

if TYPE_CHECKING:
    import asyncio

MEBIBYTE = 1024 * 1024
MORE_THAN_SOCKETS_HOLD = 14 * MEBIBYTE
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class TwoParts(App):
    """Answers in two parts, of which the second waits for the first."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        del receive
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(self.answer_bytes), "more_body": True})
        await send({"type": "http.response.body", "body": bytes(MEBIBYTE), "more_body": False})


def _read_nothing(client: Client) -> None:
    cast("asyncio.Transport", client.writer.transport).pause_reading()


def _read(client: Client) -> None:
    cast("asyncio.Transport", client.writer.transport).resume_reading()


async def _unread(stack: AsyncExitStack, rig: Rig, address: str, answer_bytes: int) -> Client:
    """Ask for an answer, don't read it, and wait until the server holds the rest of it."""
    before, reached = rig.server.unsent_bytes, sum(rig.server.bounds_reached.values())
    client = await stack.enter_async_context(rig.client(source=address))
    _read_nothing(client)
    rig.app.answer_bytes = answer_bytes
    client.send(REQUEST)
    assert await soon(lambda: rig.server.unsent_bytes > before or sum(rig.server.bounds_reached.values()) > reached)
    return client


async def test_charged_until_read() -> None:
    """What isn't read is charged; once it is read, or its connection ends, nothing is."""
    async with running() as rig:
        rig.app.gate.set()
        async with AsyncExitStack() as stack:
            client = await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
            assert WRITE_BUFFER_BYTES < rig.server.unsent_bytes <= MORE_THAN_SOCKETS_HOLD + 1_000
            _read(client)
            assert len((await client.answer())[2]) == MORE_THAN_SOCKETS_HOLD
            assert await soon(lambda: rig.server.unsent_bytes == 0)
            client = await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
            client.writer.transport.abort()
            assert await soon(lambda: rig.server.unsent_bytes == 0)
    assert not rig.server.bounds_reached


async def test_bound_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its bound, an address loses the connection that has read the least; others lose nothing."""
    monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES_PER_ADDRESS", 2 * MORE_THAN_SOCKETS_HOLD)
    async with running() as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        other = await _unread(stack, rig, ADDRESSES[1], MORE_THAN_SOCKETS_HOLD)
        greedy = [await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD + n * MEBIBYTE) for n in range(4)]
        assert rig.server.bounds_reached["max_unsent_bytes_per_address"] >= 1
        assert rig.server.bounds_reached["max_unsent_bytes"] == 0
        assert len(rig.connections()) < 1 + len(greedy)
        _read(other)
        assert len((await other.answer())[2]) == MORE_THAN_SOCKETS_HOLD


async def test_bound_of_a_trusted_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted proxy, which many clients share, has no bound but that of all."""
    monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES_PER_ADDRESS", MEBIBYTE)
    async with running(trusted_proxies=("127.0.0.1",)) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
        assert not rig.server.bounds_reached
        monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES", MEBIBYTE)
        await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
        assert await soon(lambda: rig.server.unsent_bytes <= MEBIBYTE)
        assert set(rig.server.bounds_reached) == {"max_unsent_bytes"}


async def test_bound_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound, the address with the most loses a connection, not the one that asked last."""
    monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES_PER_ADDRESS", 10 * MORE_THAN_SOCKETS_HOLD)
    async with running() as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        # So many that it still has the most when the last of the others comes, however much the sockets take later.
        for _ in range(6):
            await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
        monkeypatch.setattr(unsent, "MAX_UNSENT_BYTES", rig.server.unsent_bytes)
        others = [await _unread(stack, rig, address, MORE_THAN_SOCKETS_HOLD) for address in ADDRESSES[1:]]
        assert rig.server.bounds_reached["max_unsent_bytes"] >= 1
        assert rig.server.unsent_bytes <= unsent.MAX_UNSENT_BYTES
        for client in others:
            _read(client)
            assert len((await client.answer())[2]) == MORE_THAN_SOCKETS_HOLD


async def test_queued_requests_wait() -> None:
    """The next request of a connection starts once the client has read the answer to the one before."""
    async with running() as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        client = await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
        held = rig.server.unsent_bytes
        client.send(REQUEST * 3)
        protocol = await rig.protocol()
        assert await soon(lambda: protocol.unanswered > 0)
        # Another client's request takes the turns that theirs would have taken.
        async with rig.client(source=ADDRESSES[1]) as other:
            rig.app.answer_bytes = 0
            other.send(REQUEST)
            await other.answer()
        assert rig.app.paths == ["/", "/"]
        assert rig.server.unsent_bytes == held
        _read(client)
        assert len((await client.answer())[2]) == MORE_THAN_SOCKETS_HOLD
        for _ in range(3):
            assert (await client.answer())[0] == 200


async def test_waiting_part_is_charged() -> None:
    """A part that waits for the one before is charged, too."""
    async with running_app(TwoParts(), {}) as rig, AsyncExitStack() as stack:
        await _unread(stack, rig, ADDRESSES[0], MORE_THAN_SOCKETS_HOLD)
        protocol = await rig.protocol()
        assert rig.server.unsent_bytes >= protocol.transport.get_write_buffer_size() + MEBIBYTE
    assert rig.server.unsent_bytes == 0
