"""Tracks where requests begin and end in a connection's input, and how many bytes are not body content.

The parser buffers unfinished lines without a bound, and can't be stopped between two requests in the same input. So it
is fed in pieces that end where a request may end, and each piece is charged before it is fed.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BOUND_DETAILS",
    "MAX_FRAMING_BYTES",
    "MAX_FRAMING_PER_BODY_BYTE",
    "MAX_HEADERS",
    "MAX_HEADER_BYTES",
    "MAX_PIECE_BYTES",
    "RequestFraming",
]

MAX_HEADER_BYTES = 16 * 1024
"""The maximum length of a request's line and headers; beyond that, the answer is 431."""
MAX_HEADERS = 150
"""Headers per request; beyond that, the answer is 431. A short header takes many times its size in memory."""
MAX_FRAMING_BYTES = 16 * 1024
"""Bytes of a body that are not content (chunk sizes, chunk extensions, trailers): in a row, or in total beyond what
`MAX_FRAMING_PER_BODY_BYTE` allows. Beyond that, the answer is 431."""
MAX_FRAMING_PER_BODY_BYTE = 8
"""Such bytes allowed per byte of content; a one-byte chunk needs five."""
MAX_PIECE_BYTES = 4 * 1024
"""Bytes of a chunked body, or of a request to be queued, fed to the parser at once; their bounds may be exceeded by as
much."""

EMPTY_LINES = re.compile(rb"[\r\n]*")
HEADERS_END = b"\r\n\r\n"
BOUND_DETAILS = {
    "max_header_bytes": f"The headers are over {MAX_HEADER_BYTES} bytes.",
    "max_headers": f"There are over {MAX_HEADERS} headers.",
    "max_framing_bytes": f"The body has over {MAX_FRAMING_BYTES} bytes of trailers or chunk framing.",
}
"""What a client is told at each bound."""


class _Phase(Enum):
    BETWEEN = auto()
    """Before the first byte of a request."""
    HEADERS = auto()
    BODY = auto()


class RequestFraming:
    """Tracks one connection's requests; `charge` precedes each piece fed, the other verbs are parser callbacks."""

    def __init__(self) -> None:
        self._phase = _Phase.BETWEEN
        self._unparsed_bytes = 0
        """Bytes fed since the start of the headers."""
        self.header_bytes = 0
        """Bytes of this request's line and headers parsed so far."""
        self._headers = 0
        self._body_left: int | None = 0
        """Bytes of content still to come; None = chunked, so unknown."""
        self._body_bytes = 0
        self._framing_bytes = 0
        """Bytes fed since the end of the headers, minus the content."""
        self._unbroken_bytes = 0
        """Bytes fed since the last piece with content: an upper bound on what the parser buffers of a trailer."""

    @property
    def is_between(self) -> bool:
        """Whether no request is being parsed."""
        return self._phase is _Phase.BETWEEN

    @property
    def is_in_body(self) -> bool:
        """Whether a request's headers have ended and its body hasn't."""
        return self._phase is _Phase.BODY

    @property
    def is_partial(self) -> bool:
        """Whether a part of a request's line and headers has arrived, or empty lines before them."""
        return self._phase is _Phase.HEADERS or (self.is_between and self._unparsed_bytes > 0)

    @property
    def body_left(self) -> int | None:
        """Bytes of the body's content still to come; None = chunked, so unknown."""
        return self._body_left

    @property
    def bound_reached(self) -> str | None:
        """The name of a bound that this request exceeds, if any."""
        if self._headers > MAX_HEADERS:
            return "max_headers"
        if max(self.header_bytes, self._unparsed_bytes) > MAX_HEADER_BYTES:
            return "max_header_bytes"
        allowed = MAX_FRAMING_BYTES + MAX_FRAMING_PER_BODY_BYTE * self._body_bytes
        if self.is_in_body and (self._unbroken_bytes > MAX_FRAMING_BYTES or self._framing_bytes > allowed):
            return "max_framing_bytes"
        return None

    def piece_end(self, data: bytes, start: int, stop: int) -> int:
        """Return where the piece that begins at `start` ends: where headers or a body may end, or at `stop`.

        A chunked body may end anywhere, so such a piece may also contain later requests.
        """
        if self.is_in_body:
            left = MAX_PIECE_BYTES if self._body_left is None else self._body_left
            return min(stop, start + left)
        limit = min(stop, start + max(1, MAX_HEADER_BYTES + 1 - self._unparsed_bytes))
        if self.is_between:
            began = EMPTY_LINES.match(data, start, limit)
            end = data.find(HEADERS_END, began.end() if began else start, limit)
            return end + len(HEADERS_END) if end >= 0 else limit
        # The empty line may have begun in an earlier piece, so feed one line at a time.
        end = data.find(b"\n", start, limit)
        return end + 1 if end >= 0 else limit

    def charge(self, count: int) -> None:
        """Count the bytes of a piece that is about to be fed."""
        if self.is_in_body:
            self._framing_bytes += count
            self._unbroken_bytes += count
        else:
            self._unparsed_bytes += count

    def begin(self) -> None:
        """Begin a request."""
        self._phase = _Phase.HEADERS
        self.header_bytes = self._headers = 0

    def target(self, count: int) -> None:
        """Count bytes of the request's line."""
        self.header_bytes += count

    def header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._headers += 1
        self.header_bytes += len(name) + len(value) + len(": \r\n")

    def headers_end(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin the body, framed as the headers say, which the parser has validated."""
        self._phase = _Phase.BODY
        self._body_bytes = self._framing_bytes = self._unbroken_bytes = self._unparsed_bytes = 0
        self._body_left = 0
        for name, value in headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._body_left = None

    def body(self, count: int) -> None:
        """Count bytes of the body's content."""
        self._body_bytes += count
        self._framing_bytes -= count
        self._unbroken_bytes = 0
        if self._body_left is not None:
            self._body_left -= count

    def end(self) -> None:
        """End the request."""
        self._phase = _Phase.BETWEEN
        self._unparsed_bytes = 0
