"""What the broker's objects and rows cost, in bytes, so that owners can be charged before anything is kept.

Measured, and rounded up: never below the real cost, and at most 30 % above it (`make bench ARGS=broker-memory`).
"""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING

from fleetkey.registry import is_device

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from fleetkey.broker.codec import Will
    from fleetkey.broker.message import Message

__all__ = [
    "CONNECTIONS",
    "CONNECTION_BYTES",
    "DELIVERY_BYTES",
    "FILTERS",
    "GROUP_BYTES",
    "GROUP_MEMBER_BYTES",
    "IDENTIFIER_BYTES",
    "INBOUND_BYTES",
    "MESSAGES",
    "SESSIONS",
    "connection_bytes",
    "filter_bytes",
    "message_bytes",
    "most_filter_bytes",
    "retained_bytes",
    "retained_node_bytes",
    "session_bytes",
    "will_bytes",
]

CONNECTIONS, SESSIONS, FILTERS, MESSAGES = "connections", "sessions", "filters", "messages"
"""The kinds of things that owners are charged for: in memory, and all but connections on disk as well."""
CONNECTION_BYTES = 2_400
"""An idle connection: transport, socket and parser."""
TLS_BYTES = 19_500
"""What TLS adds to it."""
WEBSOCKET_BYTES = 5_600
"""What WebSocket adds to it."""
SESSION_BYTES = 1_100
"""A session, apart from what is in it."""
DEVICE_BYTES = 3_000
"""What else is known of a device that has a session: its principal, and its secret in the cache."""
FILTER_BYTES = 150
"""A filter in its session, apart from its text and what it takes in the tree."""
LEVEL_BYTES = 300
"""A level of a filter in the tree, at most, apart from its text."""
GROUP_BYTES = 700
"""A group of a shared subscription, apart from what it takes in the tree."""
GROUP_MEMBER_BYTES = 160
"""A session's place in such a group."""
WILL_BYTES = 600
"""A will that waits out its delay, apart from its text and payload."""
MESSAGE_BYTES = 350
"""A message, apart from its topic and payload."""
DELIVERY_BYTES = 190
"""A message's place in the queue of one session, or among those in flight."""
IDENTIFIER_BYTES = 40
"""A subscription identifier that is sent with it."""
RETAINED_BYTES = 450
"""What retaining a message adds to it, apart from the nodes of its topic."""
RETAINED_NODE_BYTES = 270
"""A node of the tree of retained messages, for one level of a topic."""
INBOUND_BYTES = 110
"""The identifier of a QoS 2 message that isn't released yet."""
ROUNDED_UP = 14
"""The allocator needs about 1/14 more for a payload than its length."""


def connection_bytes(transport: BaseTransport) -> int:
    """Return the memory that an idle connection takes."""
    size = CONNECTION_BYTES
    if transport.get_extra_info("sslcontext") is not None:
        size += TLS_BYTES
    if transport.get_extra_info("websocket"):
        size += WEBSOCKET_BYTES
    return size


def session_bytes(client_id: str, owner: str) -> int:
    """Return the memory that a session takes, besides what is in it."""
    return SESSION_BYTES + getsizeof(client_id) + (DEVICE_BYTES if is_device(owner) else 0)


def filter_bytes(topic_filter: str) -> int:
    """Return the memory that a filter takes in its session; the tree charges its own."""
    return FILTER_BYTES + getsizeof(topic_filter)


def most_filter_bytes(topic_filter: str) -> int:
    """Return the memory that a filter takes at most, in its session and in the tree."""
    levels = topic_filter.count("/") + 1
    return filter_bytes(topic_filter) + LEVEL_BYTES * levels + 2 * getsizeof(topic_filter)


def message_bytes(message: Message) -> int:
    """Return the memory that a message takes."""
    size = message.size
    return MESSAGE_BYTES + getsizeof(message.topic) + size + size // ROUNDED_UP


def will_bytes(will: Will) -> int:
    """Return the memory that a will takes while it waits out its delay."""
    size = len(will.payload) + len(will.properties)
    return WILL_BYTES + getsizeof(will.topic) + size + size // ROUNDED_UP


def retained_bytes(topic: str) -> int:
    """Return the memory that retaining a message adds to it, apart from the nodes of its topic."""
    return RETAINED_BYTES + getsizeof(topic)


def retained_node_bytes(level: str) -> int:
    """Return the memory of a node of the tree of retained messages."""
    return RETAINED_NODE_BYTES + getsizeof(level)
