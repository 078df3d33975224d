"""Stores what must survive a restart of the broker: persistent sessions, their queues, and retained messages.

One SQLite file, `broker.db` in the data directory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleetkey.broker.disk_costs import (
    IDENTIFIER_BYTES,
    INBOUND_BYTES,
    delivery_bytes,
    message_bytes,
    retained_bytes,
    session_bytes,
    subscription_bytes,
    will_bytes,
)
from fleetkey.broker.store.group_commit import GroupCommit
from fleetkey.broker.store.loading import Stored, drop_strays, load_all
from fleetkey.broker.store.pending_notes import Effect
from fleetkey.broker.store.schema import open_broker_database
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.message import Message, OutboundMessage
    from fleetkey.broker.pending_wills import PendingWill
    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import Session

__all__ = ["BrokerStore"]

SESSION, END, SUBSCRIPTION, DELIVERY, INBOUND, MESSAGE, RETAINED, WILL = "sefdimrw"
"""What a note is about, in its key."""
PUT_SESSION = """INSERT OR REPLACE INTO sessions (row, client_id, owner, expires_at, expiry_seconds)
  VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (row) DO UPDATE SET expires_at = excluded.expires_at, expiry_seconds = excluded.expiry_seconds"""
"""It replaces an older session of the same client, which is there only if the note of its deletion was lost."""
PUT_SUBSCRIPTION = """INSERT OR REPLACE INTO subscriptions (session, filter, qos, options, identifier, owed)
  VALUES (?, ?, ?, ?, ?, ?)"""
PUT_WILL = """INSERT OR REPLACE INTO wills
  (session, key, due, topic, payload, qos, is_retained, properties, expiry_seconds)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
PUT_DELIVERY = """INSERT INTO deliveries
  (row, session, message, qos, is_retained, packet_id, is_released, sent, identifiers)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (row) DO UPDATE SET message = excluded.message, packet_id = excluded.packet_id,
    is_released = excluded.is_released, sent = excluded.sent"""
DROP_DELIVERY = "DELETE FROM deliveries WHERE row = ?"
BULK = {
    PUT_DELIVERY: PUT_DELIVERY.replace(
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,"
        " value ->> 8 FROM json_each(?) WHERE true",
    ),
    DROP_DELIVERY: "DELETE FROM deliveries WHERE row IN (SELECT value ->> 0 FROM json_each(?))",
}
"""What is noted for each receiver of a message, for many of them at once."""


class BrokerStore(GroupCommit):
    """Notes changes, to be committed in groups. Used only on the event loop."""

    def __init__(self, path: Path, clock: SteadyClock | None = None) -> None:
        """Open the file, or create it; `clock` says when messages were received.

        Raises:
            sqlite3.Error: it can't be opened; OSError: it can't be created.
        """
        self._connection = connection = open_broker_database(path)
        super().__init__(connection, BULK)
        self._clock = clock or SteadyClock()
        self.stored_bytes = 0
        """Bytes of all rows in the file, once everything noted is committed; pages that are free again don't count."""
        drop_strays(connection)
        self._rows: dict[str, int] = {
            table: connection.execute(f"SELECT coalesce(max(row), 0) FROM {table}").fetchone()[0]  # noqa: S608 - the names are ours
            for table in ("sessions", "deliveries", "messages")
        }
        # Later messages must have larger rows than those that a subscription is owed.
        owed = connection.execute("SELECT coalesce(max(owed), 0) FROM subscriptions").fetchone()[0]
        self._rows["messages"] = max(self._rows["messages"], owed)
        self.unstored = 0
        """How many deliveries were not stored because the store was failing."""
        self._sent = connection.execute("SELECT coalesce(max(sent), 0) FROM deliveries").fetchone()[0]

    def load(self) -> Stored:
        """Return everything stored. Blocks: call it before serving."""
        stored = load_all(self._connection)
        self.stored_bytes = stored.bytes
        return stored

    @property
    def last_session(self) -> int:
        """The row of the newest session."""
        return self._rows["sessions"]

    def add_session(self, session: Session) -> None:
        """Note a new persistent session."""
        self._rows["sessions"] += 1
        session.row = self._rows["sessions"]
        self.stored_bytes += session_bytes(session.client_id, session.owner)
        self._put_session(session)

    def drop_session(self, session: Session) -> None:
        """Note the deletion of a session; a trigger deletes everything in it.

        What was noted of it before must be written first, so this takes no other note's place.
        """
        self.stored_bytes -= session_bytes(session.client_id, session.owner) + INBOUND_BYTES * len(session.inbound)
        self.note("DELETE FROM sessions WHERE row = ?", session.row, key=(END, session.row))

    def drop_sessions_of(self, client_id: str) -> None:
        """Note the deletion of a client's stored session, if an earlier note of it was lost."""
        self.note("DELETE FROM sessions WHERE client_id = ?", client_id)

    def drop_sessions_between(self, after: int, up_to: int, kept: list[int]) -> None:
        """Note the deletion of the stored sessions in a range of rows, except some."""
        self.note(
            "DELETE FROM sessions WHERE row > ? AND row <= ? AND row NOT IN (SELECT value FROM json_each(?))",
            after,
            up_to,
            json.dumps(kept),
        )

    def set_expiry(self, session: Session) -> None:
        """Note when a session expires, unless it was dropped."""
        if not session.is_over:
            self._put_session(session)

    def _put_session(self, session: Session) -> None:
        self.note(
            PUT_SESSION,
            session.row,
            session.client_id,
            session.owner,
            session.expires_at,
            session.expiry_seconds,
            size=len(session.client_id) + len(session.owner),
            key=(SESSION, session.row),
        )

    def add_will(self, session: Session, pending: PendingWill) -> None:
        """Note a will that waits out its delay."""
        will = pending.will
        self.stored_bytes += will_bytes(will)
        self.note(
            PUT_WILL,
            session.row,
            pending.key,
            pending.due,
            will.topic,
            will.payload,
            will.qos,
            int(will.is_retained),
            will.properties,
            will.expiry_seconds,
            size=len(will.topic) + len(will.payload) + len(will.properties),
            key=(WILL, session.row),
        )

    def drop_will(self, session: Session, pending: PendingWill) -> None:
        """Note that a will waits no longer."""
        self.stored_bytes -= will_bytes(pending.will)
        self.note("DELETE FROM wills WHERE session = ?", session.row, key=(WILL, session.row), effect=Effect.REMOVES)

    def add_subscription(
        self, session: Session, topic_filter: str, options: SubscriptionOptions, *, is_replay_due: bool
    ) -> None:
        """Note a new subscription, and whether the retained messages kept so far are still to be sent."""
        self.stored_bytes += subscription_bytes(topic_filter)
        self.change_subscription(session, topic_filter, options, is_replay_due=is_replay_due)

    def change_subscription(
        self, session: Session, topic_filter: str, options: SubscriptionOptions, *, is_replay_due: bool
    ) -> None:
        """Note a subscription that is there, in place of the older one."""
        self.note(
            PUT_SUBSCRIPTION,
            session.row,
            topic_filter,
            options.qos,
            options.packed,
            options.identifiers[0] if options.identifiers else 0,
            self._rows["messages"] if is_replay_due else 0,
            size=len(topic_filter.encode()),
            key=(SUBSCRIPTION, session.row, topic_filter),
        )

    def drop_replay(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> None:
        """Note that a subscription has been sent all its retained messages."""
        self.change_subscription(session, topic_filter, options, is_replay_due=False)

    def drop_subscription(self, session: Session, topic_filter: str) -> None:
        """Note the removal of a subscription."""
        self.stored_bytes -= subscription_bytes(topic_filter)
        self.note(
            "DELETE FROM subscriptions WHERE session = ? AND filter = ?",
            session.row,
            topic_filter,
            size=len(topic_filter.encode()),
            key=(SUBSCRIPTION, session.row, topic_filter),
            effect=Effect.REMOVES,
        )

    def free_subscription(self, session: Session, topic_filter: str) -> None:
        """Take back a note about a subscription of a session whose deletion is already noted."""
        self.stored_bytes -= subscription_bytes(topic_filter)
        self.take_back((SUBSCRIPTION, session.row, topic_filter))

    def add_delivery(self, session: Session, outgoing: OutboundMessage) -> None:
        """Note a message to deliver to a session: one that waits, or that is sent now and has a packet id."""
        self._refer(outgoing.message)
        if outgoing.packet_id:
            self._sent += 1
            outgoing.sent = self._sent
        self._rows["deliveries"] += 1
        outgoing.row = self._rows["deliveries"]
        self.stored_bytes += delivery_bytes(outgoing)
        self._put_delivery(session, outgoing, Effect.ADDS)

    def mark_sent(self, session: Session, outgoing: OutboundMessage) -> None:
        """Note the packet id of a message that is sent for the first time, and its place in the order of sending.

        Rows don't have that order: a retained message gets its row only when sent, when others may already be queued
        behind it.
        """
        self._sent += 1
        outgoing.sent = self._sent
        self._put_delivery(session, outgoing)

    def mark_released(self, session: Session, outgoing: OutboundMessage) -> None:
        """Note that the client has received a QoS 2 message, whose payload isn't needed any more."""
        self._put_delivery(session, outgoing)
        self._unrefer(outgoing.message)

    def drop_delivery(self, outgoing: OutboundMessage) -> None:
        """Note that a message was delivered, or may no longer be."""
        self.note(
            DROP_DELIVERY,
            outgoing.row,
            key=(DELIVERY, outgoing.row),
            effect=Effect.REMOVES,
        )
        self._free(outgoing)

    def free_delivery(self, outgoing: OutboundMessage) -> None:
        """Take back a note about a delivery of a session whose deletion is already noted; let go of its message."""
        self.take_back((DELIVERY, outgoing.row))
        self._free(outgoing)

    def _free(self, outgoing: OutboundMessage) -> None:
        outgoing.row = 0
        self.stored_bytes -= delivery_bytes(outgoing)
        if not outgoing.is_released:
            self._unrefer(outgoing.message)

    def _put_delivery(self, session: Session, outgoing: OutboundMessage, effect: Effect = Effect.CHANGES) -> None:
        self.note(
            PUT_DELIVERY,
            outgoing.row,
            session.row,
            None if outgoing.is_released else outgoing.message.row,
            outgoing.qos,
            int(outgoing.is_retained),
            outgoing.packet_id,
            int(outgoing.is_released),
            outgoing.sent,
            ",".join(map(str, outgoing.identifiers)) or None,
            size=IDENTIFIER_BYTES * len(outgoing.identifiers),
            key=(DELIVERY, outgoing.row),
            effect=effect,
        )

    def hold(self, message: Message) -> None:
        """Keep a message that may get more deliveries in the store, if it is there, until `let_go`."""
        message.references += 1

    def let_go(self, message: Message) -> None:
        """Delete a message that nothing refers to any more."""
        self._unrefer(message)

    def _refer(self, message: Message) -> None:
        """Count a stored reference to a message; the first one stores it."""
        if not message.row:
            self._rows["messages"] += 1
            message.row = self._rows["messages"]
            self.stored_bytes += message_bytes(message)
            self.note(
                "INSERT OR REPLACE INTO messages (row, topic, payload, owner, time, expiry, properties)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                message.row,
                message.topic,
                message.payload,
                message.owner,
                int(self._clock.lasted()),
                message.expires_at,
                message.properties or None,
                size=message.size,
                shared=message.size,
                key=(MESSAGE, message.row),
                effect=Effect.ADDS,
            )
        message.references += 1

    def _unrefer(self, message: Message) -> None:
        """Count a stored reference less; with the last one, the message is deleted."""
        message.references -= 1
        if message.row and not message.references:
            self.stored_bytes -= message_bytes(message)
            self.note(
                "DELETE FROM messages WHERE row = ?",
                message.row,
                key=(MESSAGE, message.row),
                effect=Effect.REMOVES,
            )
            message.row = 0

    def add_inbound(self, session: Session, packet_id: int) -> None:
        """Note the packet identifier of a QoS 2 message from a client."""
        self.stored_bytes += INBOUND_BYTES
        self.note(
            "INSERT OR REPLACE INTO inbound VALUES (?, ?)",
            session.row,
            packet_id,
            key=(INBOUND, session.row, packet_id),
        )

    def drop_inbound(self, session: Session, packet_id: int) -> None:
        """Note that such a message was released."""
        self.stored_bytes -= INBOUND_BYTES
        self.note(
            "DELETE FROM inbound WHERE session = ? AND packet_id = ?",
            session.row,
            packet_id,
            key=(INBOUND, session.row, packet_id),
            effect=Effect.REMOVES,
        )

    def keep_retained(self, kept: RetainedMessage, older: RetainedMessage | None) -> None:
        """Note a retained message in place of its topic's older one."""
        kept.is_stored = True
        self._refer(kept.message)
        self.note(
            "INSERT OR REPLACE INTO retained (topic, message, qos) VALUES (?, ?, ?)",
            kept.topic,
            kept.message.row,
            kept.qos,
            size=len(kept.message.topic_bytes),
            key=(RETAINED, kept.topic),
        )
        if older is not None and older.is_stored:
            self._unrefer(older.message)
        else:
            self.stored_bytes += retained_bytes(kept.message)

    def drop_retained(self, topic: str, dropped: RetainedMessage | None) -> None:
        """Note the removal of a topic's retained message, if it is still stored, and let go of the one in memory."""
        self.note(
            "DELETE FROM retained WHERE topic = ?",
            topic,
            size=len(topic.encode()),
            key=(RETAINED, topic),
            effect=Effect.REMOVES,
        )
        if dropped is not None and dropped.is_stored:
            self.stored_bytes -= retained_bytes(dropped.message)
            self._unrefer(dropped.message)
