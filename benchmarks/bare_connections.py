"""Connections of a broker's core without sockets, for measuring the core alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.broker.codec import Kind
from fleetkey.broker.transport.outbound import State

if TYPE_CHECKING:
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.core import BrokerCore

__all__ = ["Sink", "admit", "packet", "text"]

TCP = "tcp"
CLEAN_SESSION_WITH_PASSWORD = 0xC2
PROTOCOL_LEVEL = 4


class Sink:
    """The part of a transport that a connection uses; counts the bytes that are written and keeps nothing."""

    def __init__(self) -> None:
        self.written = 0

    def get_extra_info(self, name: str) -> Any:
        """Return an address."""
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        """Count."""
        self.written += len(data)

    def get_write_buffer_size(self) -> int:
        """Return 0: nothing is ever buffered."""
        return 0

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Nothing is ever buffered."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    resume_reading = close = abort = pause_reading


def admit(
    core: BrokerCore, kind: type[Connection], sink: Sink, client_id: str, username: str, password: str
) -> Connection:
    """Return a connection that was let in; its secret must be cached, so that it is decided at once."""
    connection = kind(core.parts, TCP)
    connection.connection_made(sink)  # type: ignore[arg-type] # the part of it that is used
    head = text("MQTT") + bytes((PROTOCOL_LEVEL, CLEAN_SESSION_WITH_PASSWORD, 0, 0))
    connection.data_received(packet(Kind.CONNECT << 4, head + text(client_id) + text(username) + text(password)))
    assert connection.state is State.OPEN
    return connection


def text(text: str) -> bytes:
    """Return a string as MQTT has it."""
    return len(text).to_bytes(2, "big") + text.encode()


def packet(first: int, body: bytes) -> bytes:
    """Return a packet of less than 16 KiB."""
    length = len(body)
    encoded = bytes((length,)) if length < 128 else bytes((length % 128 | 0x80, length // 128))
    return bytes((first,)) + encoded + body
