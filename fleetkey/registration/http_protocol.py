"""uvicorn's HTTP protocol, with bounds on what a client may do before its request is read."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEADER_SECONDS", "MAX_HEADER_BYTES", "BoundedHttpProtocol"]

HEADER_SECONDS = 10.0
"""How long a request's line and headers may take; then the connection is closed."""
MAX_HEADER_BYTES = 16 * 1024
"""How long they may be; then the answer is 431."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections that don't send a request in time, and refuses those that are too many or too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._is_in_headers = True
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a connection in, or refuse it at once if there are too many."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections; try again.")
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the headers have become too long."""
        if self._is_in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._is_in_headers and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The headers are over {MAX_HEADER_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin to count and to wait for another request's headers."""
        super().on_message_begin()
        self._header_bytes = 0
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Hand the request over; its body has bounds of its own."""
        self._is_in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of every refusal."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _await_headers(self) -> None:
        self._is_in_headers = True
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._close_slow)

    def _close_slow(self) -> None:
        self._header_timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"No request within {HEADER_SECONDS:g} s.")

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer a problem (RFC 9457) and close."""
        if self.transport.is_closing():
            return
        body = json.dumps(
            {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
        ).encode()
        head = (
            f"HTTP/1.1 {int(status)} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
