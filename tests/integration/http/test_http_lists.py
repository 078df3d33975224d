"""A list is read no further ahead of its client than one part, and ends with a cursor wherever it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from fleetkey.access import OverloadedError
from fleetkey.admin_api import lists
from fleetkey.admin_api.lists import ListAnswer
from fleetkey.http.unsent import WRITE_BUFFER_BYTES
from fleetkey.management import EncodedPage
from fleetkey.management.pages import MAX_PAGE_PART_BYTES
from fleetkey.registry import StoreError
from tests.integration.http.http_rig import App, Client, Rig, running_app, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Outcome = EncodedPage[str] | Exception | None

ITEM = "é" * 2_000
ITEMS_OF_PART = 16
ITEM_BYTES = len(msgspec.json.encode(ITEM)) + 1
PART_BYTES = ITEMS_OF_PART * ITEM_BYTES
MORE_THAN_SOCKETS_HOLD = 16 * 1024 * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Lists(App):
    """Answers each request with a list of `count` items, of which the first part is read already."""

    def __init__(self, count: int, *, limit: int = 1_000_000, then: Outcome = None) -> None:
        super().__init__()
        self.count = count
        self.limit = limit
        self.then = then
        self.fails_at = count
        """The item at which reading has the outcome `then`."""
        self.parts = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        await ListAnswer(self._part(0, self.limit), self._read_on, limit=self.limit)(scope, receive, send)

    async def _read_on(self, after: str | None, limit: int) -> EncodedPage[str] | None:
        start = int(after or 0)
        if start >= self.fails_at:
            if isinstance(self.then, Exception):
                raise self.then
            return self.then
        return self._part(start, limit)

    def _part(self, start: int, limit: int) -> EncodedPage[str]:
        self.parts += 1
        stop = min(start + ITEMS_OF_PART, start + limit, self.count)
        is_end = stop == self.count
        return EncodedPage(
            items=(ITEM,) * (stop - start),
            encoded=b",".join([msgspec.json.encode(ITEM)] * (stop - start)),
            next_cursor=None if is_end else str(stop),
            is_cut=not is_end and stop < start + limit,
        )


@asynccontextmanager
async def _asked(app: Lists) -> AsyncIterator[tuple[Rig, Client]]:
    """Ask for a list, and read nothing for now."""
    async with running_app(app, {}) as rig, rig.client() as client:
        cast("asyncio.Transport", client.writer.transport).pause_reading()
        client.send(REQUEST)
        yield rig, client


async def _page(client: Client) -> dict[str, Any]:
    """Read a chunked page."""
    cast("asyncio.Transport", client.writer.transport).resume_reading()
    async with asyncio.timeout(20):
        head = (await client.reader.readuntil(b"\r\n\r\n")).lower()
        assert b"transfer-encoding: chunked" in head
        assert b"cache-control: no-store" in head
        body = bytearray()
        while size := int(await client.reader.readline(), 16):
            body += (await client.reader.readexactly(size + 2))[:-2]
        await client.reader.readexactly(2)
    page: dict[str, Any] = msgspec.json.decode(body)
    return page


async def test_unread_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing makes the server hold one part; once it reads, it gets the whole page."""
    monkeypatch.setattr(lists, "MAX_PAGE_BYTES", 2 * MORE_THAN_SOCKETS_HOLD)
    app = Lists(MORE_THAN_SOCKETS_HOLD // ITEM_BYTES)
    async with _asked(app) as (rig, client):
        assert await soon(lambda: rig.server.unsent_bytes > 0)
        read = app.parts
        assert read < app.count // ITEMS_OF_PART
        assert rig.server.unsent_bytes <= WRITE_BUFFER_BYTES + PART_BYTES + 100
        async with rig.client() as other:
            # Another client's request takes the turns that the list would have taken.
            app.count = 3
            other.send(REQUEST)
            assert (await _page(other))["next_cursor"] is None
            app.count = MORE_THAN_SOCKETS_HOLD // ITEM_BYTES
        assert app.parts == read + 1
        page = await _page(client)
        assert page["next_cursor"] is None
        assert page["items"] == [ITEM] * app.count


async def test_client_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its client is gone, nothing more of a list is read."""
    monkeypatch.setattr(lists, "MAX_PAGE_BYTES", 2 * MORE_THAN_SOCKETS_HOLD)
    app = Lists(MORE_THAN_SOCKETS_HOLD // ITEM_BYTES)
    async with _asked(app) as (rig, client):
        assert await soon(lambda: rig.server.unsent_bytes > 0)
        read = app.parts
        client.writer.transport.abort()
        assert await soon(lambda: not rig.connections())
        assert app.parts == read
        assert rig.server.unsent_bytes == 0


@pytest.mark.parametrize("max_bytes", [PART_BYTES, 3 * PART_BYTES, 3 * PART_BYTES + 1, 1024 * 1024])
async def test_bytes_of_a_page(monkeypatch: pytest.MonkeyPatch, max_bytes: int) -> None:
    """A page ends before it has more than its bound, with the cursor of what follows."""
    monkeypatch.setattr(lists, "MAX_PAGE_BYTES", max_bytes)
    async with _asked(Lists(10_000)) as (_, client):
        page = await _page(client)
        parts = max_bytes // PART_BYTES
        assert len(page["items"]) == parts * ITEMS_OF_PART
        assert page["next_cursor"] == str(parts * ITEMS_OF_PART)


@pytest.mark.parametrize("limit", [ITEMS_OF_PART + 1, 5 * ITEMS_OF_PART])
async def test_limit_of_a_page(limit: int) -> None:
    """A page of several parts has no more items than were asked for."""
    async with _asked(Lists(10_000, limit=limit)) as (_, client):
        page = await _page(client)
        assert (len(page["items"]), page["next_cursor"]) == (limit, str(limit))


@pytest.mark.parametrize("error", [None, StoreError("gone"), OverloadedError("full")])
async def test_part_that_cant_be_read(error: Exception | None) -> None:
    """A page ends before a part that can't be read, or not any more by this token, and is a page like any other."""
    app = Lists(10_000, then=error)
    app.fails_at = 3 * ITEMS_OF_PART
    async with _asked(app) as (_, client):
        page = await _page(client)
        assert (len(page["items"]), page["next_cursor"]) == (3 * ITEMS_OF_PART, str(3 * ITEMS_OF_PART))


async def test_empty_part() -> None:
    """A part without items, after which a search goes on, leaves no comma behind."""
    app = Lists(10_000, then=EncodedPage(items=(), encoded=b"", next_cursor="later", is_cut=False))
    app.fails_at = 1
    async with _asked(app) as (_, client):
        page = await _page(client)
        assert (len(page["items"]), page["next_cursor"]) == (ITEMS_OF_PART, "later")


def test_parts_fit() -> None:
    """The parts above are as large as the registry's."""
    assert PART_BYTES < MAX_PAGE_PART_BYTES + ITEM_BYTES
