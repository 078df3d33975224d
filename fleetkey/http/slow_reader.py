"""Detects clients that don't read what they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["READ_SECONDS", "SlowReader"]

READ_SECONDS = 10.0
"""Interval between checks; a client that has read less than `MIN_READ_BYTES` of pending data is aborted."""
MIN_READ_BYTES = 16 * 1024


class SlowReader:
    """Checks a transport every `READ_SECONDS`, from now until `stop`.

    Args:
        is_slow: called once, when the client has read too little; then the checks end.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, is_slow: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._is_slow = is_slow
        self._waited = 0
        """Bytes pending for the client at the last check."""
        self._timer = loop.call_later(READ_SECONDS, self._look)

    def has_read(self) -> None:
        """Note that the client has read nearly everything, so that bytes pending at the next check are new."""
        self._waited = 0

    def stop(self) -> None:
        """Stop checking."""
        self._timer.cancel()

    def _look(self) -> None:
        waits = self._transport.get_write_buffer_size()
        if waits and self._waited and waits > self._waited - MIN_READ_BYTES:
            self._is_slow()
            return
        self._waited = waits
        self._timer = self._loop.call_later(READ_SECONDS, self._look)
