"""Responses of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from litestar.response.base import ASGIResponse

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

__all__ = ["CONTENT_TYPE", "NO_STORE", "Answer", "as_json"]

CONTENT_TYPE = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
"""For every response: caches between server and client must not store it."""


class Answer(ASGIResponse):
    """An encoded JSON response. Litestar's own `Response` would double the cost of a small one."""

    def __init__(self, content: bytes, status: int) -> None:
        self.body = content
        self.status_code = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        del scope, receive
        headers = [CONTENT_TYPE, (b"content-length", str(len(self.body)).encode()), NO_STORE]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def as_json(shown: object, *, status: int = 200) -> Answer:
    """Return a schema's value as a response."""
    return Answer(msgspec.json.encode(shown), status)
