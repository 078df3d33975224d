"""Loads what `broker.db` has when the broker starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.broker.codec import SubscriptionOptions, Will
from fleetkey.broker.disk_costs import (
    INBOUND_BYTES,
    delivery_bytes,
    message_bytes,
    retained_bytes,
    session_bytes,
    subscription_bytes,
    will_bytes,
)
from fleetkey.broker.message import Message, OutboundMessage
from fleetkey.broker.pending_wills import PendingWill
from fleetkey.broker.retained import RetainedMessage

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Stored", "StoredSession", "drop_strays", "load_all"]


@dataclass(slots=True, kw_only=True)
class StoredSession:
    """A persistent session as stored."""

    row: int
    client_id: str
    owner: str
    expires_at: float | None
    expiry_seconds: int | None = None
    """For how long it is kept; None = as long as the settings allow."""
    will: PendingWill | None = None
    """The will that waits out its delay."""
    subscriptions: dict[str, SubscriptionOptions] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)
    """The subscriptions whose retained messages weren't all sent: for each, the row of the newest one that is due."""
    deliveries: list[OutboundMessage] = field(default_factory=list)
    """In order of arrival; those that refer to the same row share one `Message`."""
    inbound: set[int] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Stored:
    """Everything stored."""

    retained: list[RetainedMessage]
    """In the order of their rows, which is that of publishing."""
    sessions: list[StoredSession]

    @property
    def bytes(self) -> int:
        """Bytes of all rows in the file."""
        messages = {kept.message for kept in self.retained}
        size = sum(retained_bytes(kept.message) for kept in self.retained)
        for session in self.sessions:
            size += session_bytes(session.client_id, session.owner) + INBOUND_BYTES * len(session.inbound)
            size += sum(map(subscription_bytes, session.subscriptions)) + sum(map(delivery_bytes, session.deliveries))
            size += will_bytes(session.will.will) if session.will is not None else 0
            messages.update(outgoing.message for outgoing in session.deliveries if not outgoing.is_released)
        return size + sum(map(message_bytes, messages))


def drop_strays(connection: sqlite3.Connection) -> None:
    """Delete sessions that ended with the process, and rows whose counterpart is missing.

    That happens if notes were lost while the disk was full. A new session or message could get the same number.
    """
    # They were connected, and not to be kept any longer.
    connection.execute("DELETE FROM sessions WHERE expires_at IS NULL AND expiry_seconds = 0")
    for table in ("subscriptions", "deliveries", "inbound", "wills"):
        connection.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT row FROM sessions)")  # noqa: S608 - the names are ours
    for table in ("deliveries", "retained"):
        # NULL is also not in an empty table.
        connection.execute(
            f"DELETE FROM {table} WHERE message IS NOT NULL AND message NOT IN (SELECT row FROM messages)"  # noqa: S608 - the names are ours
        )
    connection.execute(
        "DELETE FROM messages WHERE row NOT IN (SELECT message FROM retained) "
        "AND row NOT IN (SELECT message FROM deliveries WHERE message IS NOT NULL)"
    )


def load_all(connection: sqlite3.Connection) -> Stored:
    """Return everything stored."""
    messages: dict[int, Message] = {}
    for row, topic, payload, owner, expiry, properties in connection.execute(
        "SELECT row, topic, payload, owner, expiry, properties FROM messages"
    ):
        message = messages[row] = Message(topic, topic.encode(), payload, 0, owner, properties or b"", expiry)
        message.row = row
    retained = []
    for row, qos in connection.execute("SELECT message, qos FROM retained ORDER BY message"):
        message = messages[row]
        message.qos = qos
        message.references += 1
        retained.append(RetainedMessage(message=message, is_stored=True))
    return Stored(retained=retained, sessions=_load_sessions(connection, messages))


def _load_sessions(connection: sqlite3.Connection, messages: dict[int, Message]) -> list[StoredSession]:
    sessions = {
        row: StoredSession(
            row=row, client_id=client_id, owner=owner, expires_at=expires_at, expiry_seconds=expiry_seconds
        )
        for row, client_id, owner, expires_at, expiry_seconds in connection.execute(
            "SELECT row, client_id, owner, expires_at, expiry_seconds FROM sessions"
        )
    }
    _load_wills(connection, sessions)
    for row, topic_filter, qos, options, identifier, owed in connection.execute(
        "SELECT session, filter, qos, options, identifier, owed FROM subscriptions"
    ):
        sessions[row].subscriptions[topic_filter] = SubscriptionOptions.unpacked(qos, options, identifier)
        if owed:
            sessions[row].owed[topic_filter] = owed
    for row, packet_id in connection.execute("SELECT session, packet_id FROM inbound"):
        sessions[row].inbound.add(packet_id)
    for session, row, message_row, qos, packet_id, is_released, is_retained, sent, identifiers in connection.execute(
        "SELECT session, row, message, qos, packet_id, is_released, is_retained, sent, identifiers"
        " FROM deliveries ORDER BY row"
    ):
        # None: it was released, and its payload is no longer needed.
        message = messages[message_row] if message_row is not None else Message("", b"", b"", qos)
        message.references += 1
        message.qos = max(message.qos, qos)
        numbers = tuple(map(int, identifiers.split(","))) if identifiers else ()
        outgoing = OutboundMessage(message, qos, is_retained=bool(is_retained), identifiers=numbers)
        outgoing.row, outgoing.packet_id, outgoing.sent = row, packet_id, sent
        outgoing.is_sent, outgoing.is_released = bool(packet_id), bool(is_released)
        sessions[session].deliveries.append(outgoing)
    return list(sessions.values())


def _load_wills(connection: sqlite3.Connection, sessions: dict[int, StoredSession]) -> None:
    for row, key, due, topic, payload, qos, is_retained, properties, expiry_seconds in connection.execute(
        "SELECT session, key, due, topic, payload, qos, is_retained, properties, expiry_seconds FROM wills"
    ):
        will = Will(
            topic=topic,
            payload=payload,
            qos=qos,
            is_retained=bool(is_retained),
            properties=properties,
            expiry_seconds=expiry_seconds,
        )
        sessions[row].will = PendingWill(will, key, due)
