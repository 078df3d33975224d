"""What a row takes in `broker.db`: bytes by which it makes the file grow, a little more rather than less.

SQLite keeps rows in pages. A page has whole rows only, except that a long row continues on pages of its own
(https://www.sqlite.org/fileformat2.html, 1.5 and 1.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.broker.codec import Will
    from fleetkey.broker.message import Message, OutboundMessage

__all__ = [
    "INBOUND_BYTES",
    "delivery_bytes",
    "message_bytes",
    "retained_bytes",
    "session_bytes",
    "subscription_bytes",
    "will_bytes",
]

PAGE_BYTES = 4_096
PAGE_ROOM = PAGE_BYTES - 8
"""Bytes of a page for rows."""
TABLE_UNUSED = 8
"""The part of a table's pages that stays empty because rows differ in size: one in so many."""
INDEX_UNUSED = 6
"""The same for an index, whose rows come in any order."""
CONTINUED_ROOM = PAGE_BYTES - 4
"""Bytes of a row on each page of its own."""
TABLE_LOCAL = PAGE_BYTES - 35
"""The longest row that is wholly in a table's page."""
INDEX_LOCAL = (PAGE_BYTES - 12) * 64 // 255 - 23
"""The longest that is wholly in a page of an index, or of a table without row ids."""
LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
"""Bytes of a longer row that are in such a page at least."""
MESSAGE_BYTES = 24
"""A row of `messages` without its text and payload."""
DELIVERY_BYTES = 48
"""A row of `deliveries`, with its entry in the index."""
IDENTIFIER_BYTES = 12
"""A subscription identifier in it."""
SESSION_BYTES = 32
"""A row of `sessions` and its entry in the index, without their text."""
SUBSCRIPTION_BYTES = 18
"""A row of `subscriptions` without its filter."""
RETAINED_BYTES = 14
"""A row of `retained` without its topic."""
WILL_BYTES = 72
"""A row of `wills` without its text and payload."""
INBOUND_BYTES = 15
"""A row of `inbound`."""


def delivery_bytes(outgoing: OutboundMessage) -> int:
    """Return the bytes of a delivery's row."""
    return DELIVERY_BYTES + IDENTIFIER_BYTES * len(outgoing.identifiers)


def message_bytes(message: Message) -> int:
    """Return the bytes of a message's row."""
    return _in_pages(MESSAGE_BYTES + message.size + len(message.owner), TABLE_LOCAL, TABLE_UNUSED)


def session_bytes(client_id: str, owner: str) -> int:
    """Return the bytes of a session's row; the pages of the index, which has client ids as well, aren't full."""
    return SESSION_BYTES + len(client_id.encode()) * 5 // 2 + len(owner)


def subscription_bytes(topic_filter: str) -> int:
    """Return the bytes of a subscription's row."""
    return _in_pages(SUBSCRIPTION_BYTES + len(topic_filter.encode()), INDEX_LOCAL, INDEX_UNUSED)


def will_bytes(will: Will) -> int:
    """Return the bytes of a will's row."""
    size = WILL_BYTES + len(will.topic.encode()) + len(will.payload) + len(will.properties)
    return _in_pages(size, TABLE_LOCAL, TABLE_UNUSED)


def retained_bytes(message: Message) -> int:
    """Return the bytes of a retained message's row, besides the message's own."""
    return _in_pages(RETAINED_BYTES + len(message.topic_bytes), INDEX_LOCAL, INDEX_UNUSED)


def _in_pages(size: int, most_local: int, unused: int) -> int:
    """Return a row's share of the pages that it is in."""
    continued = 0
    if size > most_local:
        local = LEAST_LOCAL + (size - LEAST_LOCAL) % CONTINUED_ROOM
        if local > most_local:
            local = LEAST_LOCAL
        continued, size = -(-(size - local) // CONTINUED_ROOM), local
    share = -(-PAGE_BYTES // (PAGE_ROOM // size))
    return continued * PAGE_BYTES + share + share // unused
