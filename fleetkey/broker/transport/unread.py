"""What a client sent before its connection broke, and what nobody has read yet."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["MAX_UNREAD_BYTES", "read_unread"]

MAX_UNREAD_BYTES = 256_000
"""Bytes that are still read from a client whose connection broke: as many as the event loop reads at once."""


def read_unread(transport: asyncio.Transport, error: BaseException | None) -> bytes:
    """Return what waits in the kernel; call it in `connection_lost`, while the socket is open.

    A client that closes without having read everything resets its connection. The next write then fails, and the
    transport is lost, though what came before the reset can still be read. Over TLS that is the TLS transport's to do:
    here it would be records.
    """
    if not isinstance(error, ConnectionError) or transport.get_extra_info("sslcontext") is not None:
        return b""
    raw = transport.get_extra_info("socket")
    with suppress(OSError):
        # It doesn't block: no socket of an event loop does.
        return os.read(raw.fileno(), MAX_UNREAD_BYTES)
    return b""
