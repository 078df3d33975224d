"""uvicorn's HTTP protocol, with bounds on what a client may do before its request is read."""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["DRAIN_SECONDS", "HEADER_SECONDS", "MAX_HEADER_BYTES", "READ_SECONDS", "BoundedHttpProtocol"]

HEADER_SECONDS = 10.0
"""How long a request's line and headers may take; then the connection is closed."""
DRAIN_SECONDS = 1.0
"""How long a body may go on that was answered already, such as one that is too large; then the connection is closed."""
READ_SECONDS = 10.0
"""Between two looks at what a client has read: one that took less than `MIN_READ_BYTES` of what waits is cut off."""
MIN_READ_BYTES = 16 * 1024
MALFORMED = "Invalid HTTP request received."
"""What uvicorn logs of each request that is none."""
MAX_HEADER_BYTES = 16 * 1024
"""How long they may be; then the answer is 431."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections that don't send a request in time, and refuses those that are too many or too long."""

    max_connections = 0
    """Connections at once; 0 = no bound. `limited_to` sets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        """Bytes of this request's line and headers, as far as they are parsed."""
        self._unparsed_bytes = 0
        """Bytes that came since headers are awaited; an upper bound of what the parser holds."""
        self._is_in_headers = True
        self._is_in_body = False
        self._is_refused = False
        self._timer: asyncio.TimerHandle | None = None
        self._running: Any = None
        """The request that is answered now, as uvicorn has it; `cycle` is the one that came last."""
        self._unread_bytes = 0
        """Bytes that waited for the client at the last look."""
        self._look_timer: asyncio.TimerHandle | None = None

    @classmethod
    def limited_to(cls, max_connections: int) -> type[BoundedHttpProtocol]:
        """Return the class with a bound on connections; uvicorn makes the instances."""
        logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
        return type("LimitedHttpProtocol", (cls,), {"max_connections": max_connections})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a connection in, or refuse it at once if there are too many."""
        super().connection_made(transport)
        self._look_timer = self.loop.call_later(READ_SECONDS, self._look_at_reader)
        if self.max_connections and len(self.connections) > self.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections; try again.")
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timers."""
        self._stop_timer()
        if self._look_timer is not None:
            self._look_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the headers have become too long."""
        if self._is_refused:
            return
        if self._is_in_headers:
            self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._is_in_headers and self._unparsed_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
        elif self._is_idle():
            # Empty lines before a request (RFC 9112, 2.2) end the wait for one, but are none.
            self._await_headers()

    def on_message_begin(self) -> None:
        """Begin to count and to wait for another request's headers."""
        super().on_message_begin()
        self._header_bytes = 0
        self._is_in_body = True
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Count a part of the request line."""
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._header_bytes += len(name) + len(value) + len(": \r\n")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over; its body has bounds of its own."""
        self._is_in_headers = False
        self._unparsed_bytes = 0
        self._stop_timer()
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
        else:
            super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body over."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Hand the end of the request over."""
        self._is_in_body = False
        self._stop_timer()
        if not self._is_refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client that was answered before its body ended a little time to end it; then close."""
        super().on_response_complete()
        if self._is_in_body and not self.transport.is_closing():
            self._stop_timer()
            self._timer = self.loop.call_later(DRAIN_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of every refusal."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def resume_writing(self) -> None:
        """Go on writing; the client has read nearly all that waited, which the next look has to know."""
        self._unread_bytes = 0
        super().resume_writing()

    def _is_idle(self) -> bool:
        """Whether no request runs, none is on its way, and nothing is waited for."""
        is_answered = self.cycle is None or self.cycle.response_complete
        is_watched = self._timer is not None or self.timeout_keep_alive_task is not None
        return is_answered and not is_watched and not self.transport.is_closing()

    def _look_at_reader(self) -> None:
        """Cut off a client that doesn't read: what waits for it, and its place among the connections, are bounded."""
        waits = self.transport.get_write_buffer_size()
        if waits and self._unread_bytes and waits > self._unread_bytes - MIN_READ_BYTES:
            if self._running is not None:
                # Or it would go on writing what nobody takes.
                self._running.disconnected = True
            self.pipeline.clear()
            self.transport.abort()
            return
        self._unread_bytes = waits
        self._look_timer = self.loop.call_later(READ_SECONDS, self._look_at_reader)

    def _await_headers(self) -> None:
        self._is_in_headers = True
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._close_slow)

    def _close_slow(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"No request within {HEADER_SECONDS:g} s.")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_headers(self) -> None:
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The headers are over {MAX_HEADER_BYTES} bytes.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer a problem (RFC 9457) and close."""
        self._is_refused = True
        self._stop_timer()
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


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Drop what anybody could have written without end: it names nobody, and the answer says it already."""
    return record.msg != MALFORMED
