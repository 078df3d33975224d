"""Waking a thread that waits in a selector."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Waker", "clear"]


class Waker:
    """Wakes the thread that has it open, from any thread. Does nothing while it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sender: socket.socket | None = None

    def open(self) -> socket.socket:
        """Return the socket to select on; pass it to `close` afterwards."""
        receiver, sender = socket.socketpair()
        receiver.settimeout(0)
        sender.settimeout(0)
        with self._lock:
            self._sender = sender
        return receiver

    def wake(self) -> None:
        """Make the socket readable."""
        with self._lock:
            if self._sender is not None:
                # A full buffer is readable anyway.
                with suppress(BlockingIOError):
                    self._sender.send(b"\0")

    def close(self, receiver: socket.socket) -> None:
        """Close both sockets."""
        with self._lock:
            if self._sender is not None:
                self._sender.close()
                self._sender = None
        receiver.close()


def clear(receiver: socket.socket) -> None:
    """Make the socket unreadable again, until the next `wake`."""
    with suppress(BlockingIOError):
        receiver.recv(4096)
