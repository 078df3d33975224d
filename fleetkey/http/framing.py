"""Where requests begin and end in a connection's input, and how many of its bytes are not body content.

The parser buffers unfinished lines without a bound, and can't be stopped between two requests in one input. So it is
fed in pieces that end where a request may end, and each piece is charged before it is fed.
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
"""How long a request's line and headers may be; then the answer is 431."""
MAX_HEADERS = 150
"""Headers of a request; then the answer is 431. In memory a short header takes many times its bytes."""
MAX_FRAMING_BYTES = 16 * 1024
"""Bytes of a body that are not content (chunk sizes, chunk extensions, trailers): in a row, or in all beyond what
`MAX_FRAMING_PER_BODY_BYTE` allows; then the answer is 431."""
MAX_FRAMING_PER_BODY_BYTE = 8
"""Such bytes that are allowed for each byte of content; a one-byte chunk needs five."""
MAX_PIECE_BYTES = 4 * 1024
"""Bytes of a chunked body, or of a request that will be queued, fed to the parser at once; their bounds may be exceeded
by as much."""

EMPTY_LINES = re.compile(rb"[\r\n]*")
HEADERS_END = b"\r\n\r\n"
BOUND_DETAILS = {
    "max_header_bytes": f"The headers are over {MAX_HEADER_BYTES} bytes.",
    "max_headers": f"There are over {MAX_HEADERS} headers.",
    "max_framing_bytes": f"The body has over {MAX_FRAMING_BYTES} bytes of trailers or chunk framing.",
}
"""What a client is told at each of the bounds."""


class _Phase(Enum):
    BETWEEN = auto()
    """Before the first byte of a request."""
    HEADERS = auto()
    BODY = auto()


class RequestFraming:
    """Follows one connection's requests: `charge` before a piece is fed; the other verbs as the parser calls back."""

    def __init__(self) -> None:
        self._phase = _Phase.BETWEEN
        self._unparsed_bytes = 0
        """Bytes fed since headers are awaited."""
        self.header_bytes = 0
        """Bytes of this request's line and headers, as far as they are parsed."""
        self._headers = 0
        self._body_left: int | None = 0
        """Bytes of content still to come; None = chunked, nobody knows."""
        self._body_bytes = 0
        self._framing_bytes = 0
        """Bytes fed since the headers' end, less the content."""
        self._unbroken_bytes = 0
        """Bytes fed since the last piece with content: an upper bound of what the parser holds of a trailer."""

    @property
    def is_between(self) -> bool:
        """Whether no request is being parsed."""
        return self._phase is _Phase.BETWEEN

    @property
    def is_in_body(self) -> bool:
        """Whether a request's headers have ended and its body hasn't."""
        return self._phase is _Phase.BODY

    @property
    def body_left(self) -> int | None:
        """Bytes of the body's content still to come; None = chunked, nobody knows."""
        return self._body_left

    @property
    def bound_reached(self) -> str | None:
        """Name of the bound that this request exceeds; None if it exceeds none."""
        if self._headers > MAX_HEADERS:
            return "max_headers"
        if max(self.header_bytes, self._unparsed_bytes) > MAX_HEADER_BYTES:
            return "max_header_bytes"
        allowed = MAX_FRAMING_BYTES + MAX_FRAMING_PER_BODY_BYTE * self._body_bytes
        if self.is_in_body and (self._unbroken_bytes > MAX_FRAMING_BYTES or self._framing_bytes > allowed):
            return "max_framing_bytes"
        return None

    def piece_end(self, data: bytes, start: int, stop: int) -> int:
        """Return where the piece ends that begins at `start`: where headers or a body may end, at `stop` at the latest.

        A chunked body may end anywhere, so such a piece may contain the requests after it too.
        """
        if self.is_in_body:
            left = MAX_PIECE_BYTES if self._body_left is None else self._body_left
            return min(stop, start + left)
        limit = min(stop, start + max(1, MAX_HEADER_BYTES + 1 - self._unparsed_bytes))
        if self.is_between:
            began = EMPTY_LINES.match(data, start, limit)
            end = data.find(HEADERS_END, began.end() if began else start, limit)
            return end + len(HEADERS_END) if end >= 0 else limit
        # The empty line may have begun in an earlier piece, so take one line at a time.
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
        """Begin the body, by the framing headers, which the parser has validated."""
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
