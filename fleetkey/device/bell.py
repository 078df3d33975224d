"""A way to wake a thread that waits in a selector."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Bell", "hush"]


class Bell:
    """Rung from any thread; heard by the one thread that has it open. Ringing a closed one does nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rope: socket.socket | None = None

    def open(self) -> socket.socket:
        """Return the socket to select on; close the bell afterwards."""
        heard, rope = socket.socketpair()
        heard.settimeout(0)
        rope.settimeout(0)
        with self._lock:
            self._rope = rope
        return heard

    def ring(self) -> None:
        """Make the socket readable."""
        with self._lock:
            if self._rope is not None:
                # One that is full of rings is heard anyway.
                with suppress(BlockingIOError):
                    self._rope.send(b"\0")

    def close(self, heard: socket.socket) -> None:
        """Close both ends."""
        with self._lock:
            if self._rope is not None:
                self._rope.close()
                self._rope = None
        heard.close()


def hush(heard: socket.socket) -> None:
    """Take note of the rings so far."""
    with suppress(BlockingIOError):
        heard.recv(4096)
