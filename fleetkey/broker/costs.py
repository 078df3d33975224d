"""What the broker's objects and rows cost, in bytes, so that owners can be charged before anything is kept.

Measured, and rounded up: never below the real cost, and at most 30 % above it (`make bench ARGS=broker-memory`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from fleetkey.broker.message import Message

__all__ = [
    "CONNECTIONS",
    "CONNECTION_BYTES",
    "DELIVERY_BYTES",
    "FILTERS",
    "INBOUND_BYTES",
    "QUEUES",
    "RETAINED",
    "RETAINED_NODE_BYTES",
    "SESSIONS",
    "STORED_DELIVERY_BYTES",
    "connection_bytes",
    "filter_bytes",
    "message_bytes",
    "most_filter_bytes",
    "payload_bytes",
    "retained_bytes",
    "session_bytes",
    "stored_filter_bytes",
    "stored_message_bytes",
    "stored_retained_bytes",
    "stored_session_bytes",
]

CONNECTIONS, SESSIONS, FILTERS, QUEUES, RETAINED = "connections", "sessions", "filters", "queues", "retained"
"""The kinds of things that owners are charged for."""
CONNECTION_BYTES = 5_000
"""An idle connection: transport, socket and parser."""
SESSION_BYTES = 2_000
"""A session, and its principal, apart from what is in it."""
TLS_BYTES = 20_000
"""What TLS adds to it."""
INBOUND_BYTES = 110
"""The identifier of a QoS 2 message that isn't released yet."""
RETAINED_BYTES = 700
"""A retained message, apart from its payload and the nodes of its topic."""
RETAINED_NODE_BYTES = 350
"""A node of the tree of retained messages, for one level of a topic."""
FILTER_BYTES = 200
"""A filter in its session, apart from its text and what it takes in the tree."""
MAX_LEVEL_BYTES = 300
"""A level of a filter in the tree, at most, apart from its text."""
MESSAGE_BYTES = 200
"""A message, apart from its topic and payload."""
DELIVERY_BYTES = 190
"""A message's place in the queue of one session, or among those in flight."""
ROUNDED_UP = 14
"""The allocator needs about 1/14 more for a payload than its length."""
STORED_DELIVERY_BYTES = 60
"""A delivery's row in `broker.db`, with its entry in the index."""
ROW_BYTES = 60
"""A row in `broker.db`, apart from its texts and payloads."""


def payload_bytes(size: int) -> int:
    """Return the memory that a payload of `size` bytes takes."""
    return size + size // ROUNDED_UP


def connection_bytes(transport: BaseTransport) -> int:
    """Return the memory that an idle connection takes."""
    return CONNECTION_BYTES + (TLS_BYTES if transport.get_extra_info("sslcontext") is not None else 0)


def filter_bytes(topic_filter: str) -> int:
    """Return the memory that a filter takes in its session; the tree charges its own."""
    return FILTER_BYTES + len(topic_filter)


def most_filter_bytes(topic_filter: str) -> int:
    """Return the memory that a filter takes at most, in its session and in the tree."""
    levels = topic_filter.count("/") + 1
    return filter_bytes(topic_filter) + MAX_LEVEL_BYTES * levels + 4 * len(topic_filter)


def stored_filter_bytes(topic_filter: str) -> int:
    """Return the disk space that a filter takes."""
    return ROW_BYTES + len(topic_filter)


def message_bytes(message: Message) -> int:
    """Return the memory that a message takes."""
    return MESSAGE_BYTES + len(message.topic_bytes) + payload_bytes(len(message.payload))


def stored_message_bytes(message: Message) -> int:
    """Return the disk space that a message takes."""
    return ROW_BYTES + len(message.topic_bytes) + payload_bytes(len(message.payload))


def session_bytes(client_id: str) -> int:
    """Return the memory that a session takes, besides what is in it."""
    return SESSION_BYTES + len(client_id)


def stored_session_bytes(client_id: str) -> int:
    """Return the disk space that a session takes, besides what is in it."""
    return 2 * (ROW_BYTES + len(client_id))


def retained_bytes(topic: str, size: int, nodes: int) -> int:
    """Return the memory that a retained message takes, with a payload of `size` bytes and so many new nodes."""
    return RETAINED_BYTES + RETAINED_NODE_BYTES * nodes + 4 * len(topic) + payload_bytes(size)


def stored_retained_bytes(topic: str, size: int) -> int:
    """Return the disk space that a retained message takes."""
    return ROW_BYTES + len(topic) + size
