"""Stores what must survive a restart of the broker: persistent sessions, their queues, and retained messages.

One SQLite file, `broker.db` in the data directory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.broker.store.group_commit import GroupCommit
from fleetkey.broker.store.schema import open_broker_database

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import OutboundMessage, Session

__all__ = ["BrokerStore", "StoredDelivery", "StoredSession"]

OF_SESSIONS = ("subscriptions", "deliveries", "inbound")
"""The tables whose rows belong to a session."""


@dataclass(slots=True, kw_only=True)
class StoredDelivery:
    """A queued message as stored."""

    row: int
    topic: str
    payload: bytes = field(repr=False)
    qos: int
    packet_id: int
    is_released: bool
    is_retained: bool
    sent: int
    """Its place in the order of first sending; 0 = not sent yet, or sent by an older Fleetkey."""


@dataclass(slots=True, kw_only=True)
class StoredSession:
    """A persistent session as stored."""

    row: int
    client_id: str
    owner: str
    expires_at: float | None
    subscriptions: dict[str, int] = field(default_factory=dict)
    replays: list[str] = field(default_factory=list)
    deliveries: list[StoredDelivery] = field(default_factory=list)
    inbound: set[int] = field(default_factory=set)


class BrokerStore(GroupCommit):
    """Notes changes, to be committed in groups. Used only on the event loop."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            sqlite3.Error: it can't be opened; OSError: it can't be created.
        """
        self._connection = open_broker_database(path)
        super().__init__(self._connection)
        for table in OF_SESSIONS:
            # Orphans, left when a full disk lost the session itself; a new session could get the same number.
            self._connection.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT row FROM sessions)")  # noqa: S608 - the names are ours
        self._rows: dict[str, int] = {
            table: self._connection.execute(f"SELECT coalesce(max(row), 0) FROM {table}").fetchone()[0]  # noqa: S608 - the names are ours
            for table in ("sessions", "deliveries")
        }
        self._sent = self._connection.execute("SELECT coalesce(max(sent), 0) FROM deliveries").fetchone()[0]

    @property
    def last_session(self) -> int:
        """The row of the newest session."""
        return self._rows["sessions"]

    def add_session(self, session: Session) -> None:
        """Note a new persistent session."""
        self._rows["sessions"] += 1
        session.row = self._rows["sessions"]
        self.note(
            "INSERT OR REPLACE INTO sessions (row, client_id, owner) VALUES (?, ?, ?)",
            session.row,
            session.client_id,
            session.owner,
        )

    def drop_session(self, session: Session) -> None:
        """Note the deletion of a session and everything in it."""
        for table in OF_SESSIONS:
            self.note(f"DELETE FROM {table} WHERE session = ?", session.row)  # noqa: S608 - the names are ours
        self.note("DELETE FROM sessions WHERE row = ?", session.row)

    def drop_sessions_of(self, client_id: str) -> None:
        """Note the deletion of a client's stored session, if an earlier note of it was lost."""
        for table in OF_SESSIONS:
            self.note(
                f"DELETE FROM {table} WHERE session IN (SELECT row FROM sessions WHERE client_id = ?)",  # noqa: S608 - the names are ours
                client_id,
            )
        self.note("DELETE FROM sessions WHERE client_id = ?", client_id)

    def drop_sessions_between(self, after: int, up_to: int, kept: list[int]) -> None:
        """Note the deletion of the stored sessions in a range of rows, except some."""
        unkept = "SELECT row FROM sessions WHERE row > ? AND row <= ? AND row NOT IN (SELECT value FROM json_each(?))"
        parameters = after, up_to, json.dumps(kept)
        for table in OF_SESSIONS:
            self.note(f"DELETE FROM {table} WHERE session IN ({unkept})", *parameters)  # noqa: S608 - the names are ours
        self.note(f"DELETE FROM sessions WHERE row IN ({unkept})", *parameters)  # noqa: S608 - the names are ours

    def set_expiry(self, session: Session) -> None:
        """Note when a session expires."""
        self.note("UPDATE sessions SET expires_at = ? WHERE row = ?", session.expires_at, session.row)

    def add_subscription(self, session: Session, topic_filter: str, qos: int, *, is_replay_due: bool = False) -> None:
        """Note a subscription, and whether its retained messages are still to be sent."""
        self.note(
            "INSERT OR REPLACE INTO subscriptions (session, filter, qos, is_owed) VALUES (?, ?, ?, ?)",
            session.row,
            topic_filter,
            qos,
            int(is_replay_due),
        )

    def drop_replay(self, session: Session, topic_filter: str) -> None:
        """Note that a subscription has been sent all its retained messages."""
        self.note("UPDATE subscriptions SET is_owed = 0 WHERE session = ? AND filter = ?", session.row, topic_filter)

    def drop_subscription(self, session: Session, topic_filter: str) -> None:
        """Note the removal of a subscription."""
        self.note("DELETE FROM subscriptions WHERE session = ? AND filter = ?", session.row, topic_filter)

    def add_delivery(self, session: Session, outgoing: OutboundMessage) -> None:
        """Note a message to deliver to a session."""
        self._rows["deliveries"] += 1
        outgoing.row = self._rows["deliveries"]
        message = outgoing.message
        self.note(
            "INSERT INTO deliveries (row, session, topic, payload, qos, is_retained) VALUES (?, ?, ?, ?, ?, ?)",
            outgoing.row,
            session.row,
            message.topic,
            message.payload,
            outgoing.qos,
            int(outgoing.is_retained),
            size=len(message.payload),
        )

    def mark_sent(self, outgoing: OutboundMessage) -> None:
        """Note the packet id of a message that is sent for the first time, and its place in the order of sending.

        Rows don't have that order: a retained message gets its row only when sent, when others may already be queued
        behind it.
        """
        self._sent += 1
        self.note(
            "UPDATE deliveries SET packet_id = ?, sent = ? WHERE row = ?", outgoing.packet_id, self._sent, outgoing.row
        )

    def mark_released(self, outgoing: OutboundMessage) -> None:
        """Note that the client has received a QoS 2 message."""
        self.note("UPDATE deliveries SET is_released = 1 WHERE row = ?", outgoing.row)

    def drop_delivery(self, outgoing: OutboundMessage) -> None:
        """Note that a message was delivered, or may no longer be."""
        self.note("DELETE FROM deliveries WHERE row = ?", outgoing.row)

    def add_inbound(self, session: Session, packet_id: int) -> None:
        """Note the packet identifier of a QoS 2 message from a client."""
        self.note("INSERT OR REPLACE INTO inbound VALUES (?, ?)", session.row, packet_id)

    def drop_inbound(self, session: Session, packet_id: int) -> None:
        """Note that such a message was released."""
        self.note("DELETE FROM inbound WHERE session = ? AND packet_id = ?", session.row, packet_id)

    def keep_retained(self, message: RetainedMessage) -> None:
        """Note a retained message."""
        self.note(
            "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)",
            message.topic,
            message.payload,
            message.qos,
            message.owner,
            size=len(message.payload),
        )

    def drop_retained(self, topic: str) -> None:
        """Note the removal of a retained message."""
        self.note("DELETE FROM retained WHERE topic = ?", topic)

    def load_retained(self) -> list[tuple[str, bytes, int, str]]:
        """Return (topic, payload, QoS, owner) of all retained messages. Blocks: call it before serving."""
        return self._connection.execute("SELECT topic, payload, qos, owner FROM retained").fetchall()

    def load_sessions(self) -> list[StoredSession]:
        """Return all sessions. Blocks: call it before serving."""
        sessions = {
            row: StoredSession(row=row, client_id=client_id, owner=owner, expires_at=expires_at)
            for row, client_id, owner, expires_at in self._connection.execute(
                "SELECT row, client_id, owner, expires_at FROM sessions"
            )
        }
        for row, topic_filter, qos, is_replay_due in self._connection.execute(
            "SELECT session, filter, qos, is_owed FROM subscriptions"
        ):
            if row in sessions:
                sessions[row].subscriptions[topic_filter] = qos
                if is_replay_due:
                    sessions[row].replays.append(topic_filter)
        for row, packet_id in self._connection.execute("SELECT session, packet_id FROM inbound"):
            if row in sessions:
                sessions[row].inbound.add(packet_id)
        for session, row, topic, payload, qos, packet_id, is_released, is_retained, sent in self._connection.execute(
            "SELECT session, row, topic, payload, qos, packet_id, is_released, is_retained, sent "
            "FROM deliveries ORDER BY row"
        ):
            if session in sessions:
                sessions[session].deliveries.append(
                    StoredDelivery(
                        row=row,
                        topic=topic,
                        payload=payload,
                        qos=qos,
                        packet_id=packet_id,
                        is_released=bool(is_released),
                        is_retained=bool(is_retained),
                        sent=sent,
                    )
                )
        return list(sessions.values())
