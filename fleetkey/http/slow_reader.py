"""Noticing that a client doesn't read what it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["READ_SECONDS", "SlowReader"]

READ_SECONDS = 10.0
"""Between two looks at what a client has read: one that took less than `MIN_READ_BYTES` of what waits is cut off."""
MIN_READ_BYTES = 16 * 1024


class SlowReader:
    """Looks at a transport every `READ_SECONDS`, from now until `stop`.

    Args:
        is_slow: is called once, when the client has read too little; then nothing is looked at any more.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, is_slow: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._is_slow = is_slow
        self._waited = 0
        """Bytes that waited for the client at the last look."""
        self._timer = loop.call_later(READ_SECONDS, self._look)

    def has_read(self) -> None:
        """Note that the client has read nearly all that waited, so that what waits at the next look is new."""
        self._waited = 0

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        waits = self._transport.get_write_buffer_size()
        if waits and self._waited and waits > self._waited - MIN_READ_BYTES:
            self._is_slow()
            return
        self._waited = waits
        self._timer = self._loop.call_later(READ_SECONDS, self._look)
