"""Refuses key exchanges that would cost the server too much, by the ClientHello (RFC 8446, 4.1.2 and 4.2.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.tls.records import HANDSHAKE, RECORD_HEADER, NotTlsError, TlsBoundError, record_end

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_key_shares"]

BEFORE_SESSION_ID = 4 + 2 + 32
"""Bytes of the message before its session id: the header, a version and a random number."""
KEY_SHARE = 51
FINITE_FIELD_GROUPS = range(0x0100, 0x0200)
"""ffdhe2048 to ffdhe8192 and private groups: a key exchange takes 3 to 180 ms, on an elliptic curve 0.1 to 2 ms."""


def check_key_shares(data: bytes | bytearray, end: int) -> None:
    """Refuse a key share in a finite field group.

    Args:
        data: begins with the records of a complete ClientHello.
        end: where they end.

    Raises:
        TlsBoundError: there is such a key share.
        NotTlsError: the ClientHello is malformed.
    """
    if any(group in FINITE_FIELD_GROUPS for group in _groups(_Fields(_message(data, end)))):
        raise TlsBoundError("tls_key_share")


def _message(data: bytes | bytearray, end: int) -> bytes:
    """Return the handshake message without its records."""
    at, parts = 0, []
    while at < end:
        following = record_end(data, at, end)
        if data[at] == HANDSHAKE:
            parts.append(bytes(data[at + RECORD_HEADER : following]))
        at = following
    return b"".join(parts)


def _groups(hello: _Fields) -> Iterator[int]:
    """Return the groups of the key shares."""
    hello.take(BEFORE_SESSION_ID)
    for length_bytes in (1, 2, 1):
        # The session id, the cipher suites, the compression methods.
        hello.block(length_bytes)
    if hello.is_at_end:
        return
    extensions = hello.block(2)
    while not extensions.is_at_end:
        kind, content = extensions.number(2), extensions.block(2)
        if kind != KEY_SHARE:
            continue
        shares = content.block(2)
        while not shares.is_at_end:
            yield shares.number(2)
            shares.block(2)


class _Fields:
    """Reads fields one after the other. Raises `NotTlsError` where one extends past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            msg = "a malformed ClientHello"
            raise NotTlsError(msg)
        self._at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count))

    def block(self, length_bytes: int) -> _Fields:
        """Read bytes that follow their length."""
        return _Fields(self.take(self.number(length_bytes)))
