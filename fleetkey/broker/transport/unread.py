"""Reads what a client sent before its connection broke."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["MAX_UNREAD_BYTES", "read_unread"]

MAX_UNREAD_BYTES = 256_000
"""How many bytes are still read after a connection broke: as many as the event loop reads at once."""


def read_unread(transport: asyncio.Transport, error: BaseException | None) -> bytes:
    """Return what the kernel still has to read; call it in `connection_lost`, while the socket is open.

    A client that closes without having read everything resets its connection. The next write then fails and the
    transport is lost, though data that arrived before the reset can still be read. Over TLS, the TLS transport does
    this, as the socket contains encrypted records.
    """
    if not isinstance(error, ConnectionError) or transport.get_extra_info("sslcontext") is not None:
        return b""
    raw = transport.get_extra_info("socket")
    with suppress(OSError):
        # This doesn't block, as an event loop's sockets are non-blocking.
        return os.read(raw.fileno(), MAX_UNREAD_BYTES)
    return b""
