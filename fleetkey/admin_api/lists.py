"""Lists: read, encoded and sent in parts, so that a client that reads slowly makes the server hold only one part."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from litestar.response.base import ASGIResponse

from fleetkey.access import OverloadedError
from fleetkey.admin_api.responses import CONTENT_TYPE, NO_STORE, Answer
from fleetkey.http.unsent import UNSENT
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import Receive, Scope, Send

    from fleetkey.admin_api.auth import Authorizer
    from fleetkey.admin_api.context import Asked
    from fleetkey.http.unsent import Unsent
    from fleetkey.management import EncodedPage, Management

    Part = EncodedPage[Any]

__all__ = ["MAX_PAGE_BYTES", "ListAnswer", "ReadPart", "answer_list"]

MAX_PAGE_BYTES = 1024 * 1024
"""Bytes of items after which a page ends early; its first item may be longer."""


class ReadPart(Protocol):
    """Reads a part of a list; blocks."""

    def __call__(self, fleet: Management, *, cursor: str | None, limit: int) -> Part:
        """Return at most `limit` items after a cursor."""
        ...


async def answer_list(
    authorizer: Authorizer, request: Asked, read: ReadPart, *, cursor: str | None, limit: int
) -> Answer | ListAnswer:
    """Return a page: in one piece if it is short, otherwise in parts that are read as the client takes them."""
    part = await authorizer.run(request, lambda fleet, _: read(fleet, cursor=cursor, limit=limit))
    # HTTP/1.0 has no chunks (RFC 9112, 7.1), and a page may be short.
    if not part.is_cut or request.scope["http_version"] == "1.0":
        return Answer(b"%b%b%b" % (_BEGIN, part.encoded, _end(part.next_cursor)), HTTPStatus.OK)

    async def read_on(after: str | None, count: int) -> Part | None:
        return await authorizer.run_on(request, lambda fleet: read(fleet, cursor=after, limit=count))

    return ListAnswer(part, read_on, limit=limit)


class ListAnswer(ASGIResponse):
    """A page in several parts, chunked. Each is read only once the client has read the ones before.

    The page ends at `limit` items, at `MAX_PAGE_BYTES`, or where its next part can't be read: what follows is after
    its cursor, and the request for that gets the error.

    Args:
        part: the first part.
        read_on: returns at most so many items after a cursor; None if the caller may not read any more.
        limit: the maximum number of items.
    """

    def __init__(self, part: Part, read_on: Callable[[str | None, int], Awaitable[Part | None]], *, limit: int) -> None:
        self._part = part
        self._read_on = read_on
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts."""
        del receive
        unsent: Unsent = scope[UNSENT]  # type: ignore[literal-required] # ASGI allows additional keys
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": (CONTENT_TYPE, NO_STORE)})
        part: Part | None = self._part
        del self._part
        items_left, bytes_left, separator = self._limit, MAX_PAGE_BYTES, _BEGIN
        while part is not None and (separator is _BEGIN or len(part.encoded) < bytes_left):
            text = separator + part.encoded if part.items else b""
            items_left -= len(part.items)
            bytes_left -= len(part.encoded) + 1
            following, is_last, separator = part.next_cursor, not part.is_cut, b","
            part = None
            await send({"type": "http.response.body", "body": text, "more_body": True})
            if is_last:
                break
            # Nothing is held while the client reads.
            del text
            await unsent.drained()
            if unsent.is_gone:
                return
            part = await self._read(following, items_left)
        await send({"type": "http.response.body", "body": _end(following), "more_body": False})

    async def _read(self, after: str | None, count: int) -> Part | None:
        try:
            return await self._read_on(after, count)
        except (StoreError, OverloadedError):
            return None


_BEGIN = b'{"items":['


def _end(next_cursor: str | None) -> bytes:
    return b'],"next_cursor":%b}' % msgspec.json.encode(next_cursor)
