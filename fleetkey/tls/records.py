"""Where TLS records and a ClientHello end, without decrypting anything (RFC 8446, 4 and 5.1; RFC 5246, 6.2)."""

from __future__ import annotations

__all__ = [
    "HANDSHAKE",
    "MAX_HELLO_BYTES",
    "MAX_RECORD_BYTES",
    "RECORD_HEADER",
    "NotTlsError",
    "TlsBoundError",
    "hello_end",
    "is_hello_retry",
    "record_end",
    "records_end",
]

RECORD_HEADER = 5
"""A record's header: its type, a version, and the content's length in two bytes."""
MAX_RECORD_BYTES = RECORD_HEADER + 16 * 1024 + 2048
"""The maximum length of a record (RFC 5246, 6.2.3; TLS 1.3 allows less)."""
MAX_HELLO_BYTES = 16 * 1024
"""The maximum length of a ClientHello; typical ones have 200 to 2,000 bytes."""
MAX_HELLO_RECORDS = 32
"""How many records a ClientHello may span; typical ones fit in one."""
CHANGE_CIPHER_SPEC = 20
HANDSHAKE = 22
MAJOR_VERSION = 3
MESSAGE_HEADER = 4
"""A handshake message's header: its type, and the content's length in three bytes."""
CLIENT_HELLO = 1
RANDOM = slice(RECORD_HEADER + MESSAGE_HEADER + 2, RECORD_HEADER + MESSAGE_HEADER + 2 + 32)
HELLO_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The `random` value that makes a ServerHello a HelloRetryRequest (RFC 8446, 4.1.3)."""


class NotTlsError(ValueError):
    """What the client sent is not TLS, or not allowed at this point."""


class TlsBoundError(NotTlsError):
    """The client exceeded a bound.

    Args:
        bound: its name, for the log and the metrics.
    """

    def __init__(self, bound: str) -> None:
        super().__init__(bound)
        self.bound = bound


def record_end(data: bytes | bytearray, start: int, size: int) -> int:
    """Return where the record that begins at `start` ends; 0 if it doesn't end within the first `size` bytes.

    Raises:
        NotTlsError: it is not a record, or too long.
    """
    if size - start < RECORD_HEADER:
        return 0
    end = start + RECORD_HEADER + (data[start + 3] << 8 | data[start + 4])
    if data[start + 1] != MAJOR_VERSION or end - start > MAX_RECORD_BYTES:
        msg = "not a TLS record"
        raise NotTlsError(msg)
    return end if end <= size else 0


def records_end(data: bytes | bytearray, most: int, most_bytes: int) -> tuple[int, int]:
    """Return where the last complete record ends and how many there are: up to `most`, starting within `most_bytes`.

    Raises:
        NotTlsError: the first one is not a record, or too long.
    """
    at, count, size = 0, 0, len(data)
    while count < most and at < most_bytes and size - at > RECORD_HEADER:
        end = at + RECORD_HEADER + (data[at + 3] << 8 | data[at + 4])
        if data[at + 1] != MAJOR_VERSION or end - at > MAX_RECORD_BYTES:
            if count:
                break
            msg = "not a TLS record"
            raise NotTlsError(msg)
        if end > size:
            break
        at, count = end, count + 1
    return at, count


def hello_end(data: bytes | bytearray) -> int:
    """Return where the record ends that completes the ClientHello at the start of `data`; 0 if it is incomplete.

    A TLS library allocates the length that a ClientHello announces before the rest has arrived. So it is given nothing
    until the ClientHello is complete. The second one of a handshake may follow a ChangeCipherSpec, which is ignored
    (RFC 8446, D.4).

    Raises:
        TlsBoundError: it is too long, or split into too many records.
        NotTlsError: `data` isn't a ClientHello.
    """
    at, size = 0, len(data)
    header, length = bytearray(), 0
    for _ in range(MAX_HELLO_RECORDS):
        if at < size and data[at] != HANDSHAKE and data[at] != CHANGE_CIPHER_SPEC:
            msg = "not a TLS handshake"
            raise NotTlsError(msg)
        end = record_end(data, at, size)
        if not end:
            if size > MAX_HELLO_BYTES:
                break
            return 0
        if data[at] == HANDSHAKE:
            content = at + RECORD_HEADER
            header += data[content : min(end, content + MESSAGE_HEADER - len(header))]
            length += end - content
            if header and header[0] != CLIENT_HELLO:
                msg = "not a ClientHello"
                raise NotTlsError(msg)
            announced = MESSAGE_HEADER + int.from_bytes(header[1:])
            if announced > MAX_HELLO_BYTES:
                break
            if len(header) == MESSAGE_HEADER and length >= announced:
                return end
        at = end
    raise TlsBoundError("tls_hello_bytes")


def is_hello_retry(answer: bytes) -> bool:
    """Whether the answer to a ClientHello asks for another one."""
    return answer[RANDOM] == HELLO_RETRY
