"""What the broker must still know after a restart: persistent sessions, their queues, and retained messages.

One SQLite file, `broker.db` in the data directory. The event loop notes what to write; a thread commits what has been
noted every few milliseconds in one transaction, and then says so, which is when acknowledgements go out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from fleetkey.broker.schema import open_broker_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import Outgoing, Session

__all__ = ["BrokerStore", "StoredDelivery", "StoredSession"]

log = structlog.get_logger(__name__)

COMMIT_SECONDS = 0.005
"""How long notes are gathered before a commit; the promise is 50 ms from note to acknowledgement."""
MAX_NOTES = 20_000
"""Notes that may wait; above it, connections that add to them are not read from until a commit."""
MAX_NOTED_BYTES = 32 * 1024 * 1024
"""Payloads in them; above it likewise."""
MAX_WAITERS = 20_000
"""Acknowledgements that may wait for a commit; above it likewise."""
RETRY_SECONDS = 0.1
"""Between two tries while the disk can't be written."""
MAX_KEPT = 100_000
"""Notes kept for a next try; then the oldest go."""

Statement = tuple[str, tuple[Any, ...]]


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


@dataclass(slots=True, kw_only=True)
class StoredSession:
    """A persistent session as stored."""

    row: int
    client_id: str
    owner: str
    expires_at: float | None
    subscriptions: dict[str, int] = field(default_factory=dict)
    owed: list[str] = field(default_factory=list)
    deliveries: list[StoredDelivery] = field(default_factory=list)
    inbound: set[int] = field(default_factory=set)


class BrokerStore:
    """Notes changes and commits them in groups. Lives on the event loop; its thread alone touches the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            sqlite3.Error: it can't be opened; OSError: neither can its folder.
        """
        self._connection = open_broker_database(path)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fleetkey-broker-store")
        self._notes: list[Statement] = []
        self._kept: deque[Statement] = deque(maxlen=MAX_KEPT)
        self._waiters: list[Callable[[bool], None]] = []
        self._noted_bytes = 0
        self._is_committing = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_failing = False
        """Whether the last commit failed; nothing that must be stored is acknowledged until one succeeds."""
        self._rows = {
            table: self._connection.execute(f"SELECT coalesce(max(row), 0) FROM {table}").fetchone()[0]  # noqa: S608 - the names are ours
            for table in ("sessions", "deliveries")
        }

    @property
    def is_behind(self) -> bool:
        """Whether more is noted than should wait."""
        return len(self._notes) > MAX_NOTES or self._noted_bytes > MAX_NOTED_BYTES or len(self._waiters) > MAX_WAITERS

    def after_commit(self, callback: Callable[[bool], None]) -> None:
        """Call back when everything noted so far is committed (True) or could not be (False)."""
        self._waiters.append(callback)
        self._schedule()

    def add_session(self, session: Session) -> None:
        """Note a new persistent session."""
        self._rows["sessions"] += 1
        session.row = self._rows["sessions"]
        self._note(
            "INSERT OR REPLACE INTO sessions (row, client_id, owner) VALUES (?, ?, ?)",
            session.row,
            session.client_id,
            session.owner,
        )

    def drop_session(self, session: Session) -> None:
        """Note the end of a session with all that it has."""
        for table in ("subscriptions", "deliveries", "inbound"):
            self._note(f"DELETE FROM {table} WHERE session = ?", session.row)  # noqa: S608 - the names are ours
        self._note("DELETE FROM sessions WHERE row = ?", session.row)

    def set_expiry(self, session: Session) -> None:
        """Note when a session ends by itself."""
        self._note("UPDATE sessions SET expires_at = ? WHERE row = ?", session.expires_at, session.row)

    def add_subscription(self, session: Session, topic_filter: str, qos: int, *, is_owed: bool = False) -> None:
        """Note a subscription, and whether it is still owed its retained messages."""
        self._note(
            "INSERT OR REPLACE INTO subscriptions (session, filter, qos, is_owed) VALUES (?, ?, ?, ?)",
            session.row,
            topic_filter,
            qos,
            int(is_owed),
        )

    def drop_owed(self, session: Session, topic_filter: str) -> None:
        """Note that a subscription has all its retained messages."""
        self._note("UPDATE subscriptions SET is_owed = 0 WHERE session = ? AND filter = ?", session.row, topic_filter)

    def drop_subscription(self, session: Session, topic_filter: str) -> None:
        """Note the end of a subscription."""
        self._note("DELETE FROM subscriptions WHERE session = ? AND filter = ?", session.row, topic_filter)

    def add_delivery(self, session: Session, outgoing: Outgoing) -> None:
        """Note a message that must reach a session."""
        self._rows["deliveries"] += 1
        outgoing.row = self._rows["deliveries"]
        message = outgoing.message
        self._noted_bytes += len(message.payload)
        self._note(
            "INSERT INTO deliveries (row, session, topic, payload, qos, is_retained) VALUES (?, ?, ?, ?, ?, ?)",
            outgoing.row,
            session.row,
            message.topic,
            message.payload,
            outgoing.qos,
            int(outgoing.is_retained),
        )

    def mark_sent(self, outgoing: Outgoing) -> None:
        """Note the packet id of a message, and whether its receiver has it (QoS 2)."""
        self._note(
            "UPDATE deliveries SET packet_id = ?, is_released = ? WHERE row = ?",
            outgoing.packet_id,
            int(outgoing.is_released),
            outgoing.row,
        )

    def drop_delivery(self, outgoing: Outgoing) -> None:
        """Note that a message has arrived, or may not any more."""
        self._note("DELETE FROM deliveries WHERE row = ?", outgoing.row)

    def add_inbound(self, session: Session, packet_id: int) -> None:
        """Note a QoS 2 message that was taken."""
        self._note("INSERT OR REPLACE INTO inbound VALUES (?, ?)", session.row, packet_id)

    def drop_inbound(self, session: Session, packet_id: int) -> None:
        """Note that it was released."""
        self._note("DELETE FROM inbound WHERE session = ? AND packet_id = ?", session.row, packet_id)

    def keep_retained(self, message: RetainedMessage) -> None:
        """Note a retained message."""
        self._noted_bytes += len(message.payload)
        self._note(
            "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)",
            message.topic,
            message.payload,
            message.qos,
            message.owner,
        )

    def drop_retained(self, topic: str) -> None:
        """Note the end of a retained message."""
        self._note("DELETE FROM retained WHERE topic = ?", topic)

    def load_retained(self) -> list[tuple[str, bytes, int, str]]:
        """Return (topic, payload, QoS, owner) of all retained messages; blocks, before the loop serves."""
        return self._connection.execute("SELECT topic, payload, qos, owner FROM retained").fetchall()

    def load_sessions(self) -> list[StoredSession]:
        """Return all sessions; blocks, before the loop serves."""
        sessions = {
            row: StoredSession(row=row, client_id=client_id, owner=owner, expires_at=expires_at)
            for row, client_id, owner, expires_at in self._connection.execute(
                "SELECT row, client_id, owner, expires_at FROM sessions"
            )
        }
        for row, topic_filter, qos, is_owed in self._connection.execute(
            "SELECT session, filter, qos, is_owed FROM subscriptions"
        ):
            if row in sessions:
                sessions[row].subscriptions[topic_filter] = qos
                if is_owed:
                    sessions[row].owed.append(topic_filter)
        for row, packet_id in self._connection.execute("SELECT session, packet_id FROM inbound"):
            if row in sessions:
                sessions[row].inbound.add(packet_id)
        for session, row, topic, payload, qos, packet_id, is_released, is_retained in self._connection.execute(
            "SELECT session, row, topic, payload, qos, packet_id, is_released, is_retained FROM deliveries ORDER BY row"
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
                    )
                )
        return list(sessions.values())

    async def close(self) -> None:
        """Commit what is noted and close the file; nothing may be noted any more."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.after_commit(done.set_result)
        await done
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown(wait=True)
        self._connection.close()

    def _note(self, sql: str, *parameters: Any) -> None:
        self._notes.append((sql, parameters))
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and not self._is_committing:
            delay = RETRY_SECONDS if self.is_failing else COMMIT_SECONDS
            self._timer = asyncio.get_running_loop().call_later(delay, self._begin_commit)

    def _begin_commit(self) -> None:
        self._timer = None
        self._is_committing = True
        statements, self._notes, self._noted_bytes = [*self._kept, *self._notes], [], 0
        waiters, self._waiters = self._waiters, []
        loop = asyncio.get_running_loop()
        future = self._executor.submit(self._commit, statements)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._end_commit, done.exception(), statements, waiters)
        )

    def _commit(self, statements: list[Statement]) -> None:
        """Run in the store's thread."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, parameters in statements:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _end_commit(
        self, error: BaseException | None, statements: list[Statement], waiters: list[Callable[[bool], None]]
    ) -> None:
        self._is_committing = False
        self._kept.clear()
        if error is None:
            if self.is_failing:
                log.warning("broker_store_recovered")
        else:
            if not self.is_failing:
                log.error("broker_store_failed", error=str(error), meaning="what must be stored is not acknowledged")
            # Nothing of it was acknowledged, and it is in memory: it is tried again, so that the two stay the same.
            self._kept.extend(statements)
        self.is_failing = error is not None
        if self._notes or self._waiters or self._kept:
            self._schedule()
        for waiter in waiters:
            waiter(error is None)
