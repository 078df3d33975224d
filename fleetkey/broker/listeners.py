"""The broker's listeners, by name."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ListenerError", "ListenerName"]


class ListenerName(StrEnum):
    """The listeners that may exist."""

    TCP = "tcp"
    TLS = "tls"
    WEBSOCKET = "ws"


class ListenerError(Exception):
    """A listener that can't be bound.

    Attributes:
        listener: which one.
        error: why.
    """

    def __init__(self, listener: ListenerName, error: OSError) -> None:
        super().__init__(f"the listener {listener}: {error}")
        self.listener = listener
        self.error = error
