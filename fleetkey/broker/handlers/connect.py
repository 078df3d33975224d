"""Handles CONNECT, and the end of a connection (MQTT 3.1.1, 3.1 and 3.2)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog

from fleetkey.access import response_topics
from fleetkey.broker.admission import Admitted
from fleetkey.broker.codec import Reason, Terms
from fleetkey.broker.codec.values import NO_END
from fleetkey.broker.refusals import Claims, Refusals, Rejected
from fleetkey.broker.session import ClientSink, Publisher
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.admission import Admission
    from fleetkey.broker.codec import Connect, UnsupportedProtocolError, Will
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.handlers.publish import PublishHandler
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.pending_wills import PendingWills
    from fleetkey.broker.ports import BrokerObserver
    from fleetkey.broker.presence import PresenceRecorder
    from fleetkey.broker.session import Session
    from fleetkey.broker.sessions import OpenedSession, Sessions
    from fleetkey.broker.store import BrokerStore
    from fleetkey.broker.work import WorkQueue
    from fleetkey.turns import FairTurnQueue

__all__ = ["ConnectHandler"]

log = structlog.get_logger(__name__)


CODE_AT = 3
"""Where the return code, or reason code, is in a refusing CONNACK."""
NO_CLAIMS = Claims()
VERSIONS = {3: RefusalReason.PROTOCOL_3_1}
"""The versions that aren't supported, by protocol level."""


class Client(Publisher, Protocol):
    """The parts of a connection that are used here."""

    listener: str
    transport: Any
    last_heard: float
    was_welcomed: bool
    """Whether its CONNECT was accepted."""
    is_suspended: bool

    def accept(self, session: Session, principal: Principal, connect: Connect) -> None:
        """Attach to a session, before the CONNACK is sent."""
        ...

    def open(self, will: Will | None) -> None:
        """Start serving, after the CONNACK is sent."""
        ...

    def suspend(self) -> None:
        """Handle nothing more until `proceed`."""
        ...

    def wait(self) -> None:
        """Handle nothing more until `proceed`, which is soon."""
        ...

    def hold(self) -> None:
        """Handle nothing more, and deliver nothing, until `open` and `proceed`."""
        ...

    def proceed(self) -> None:
        """Resume handling packets."""
        ...


class ConnectHandler:
    """Accepts or refuses clients, and detaches them from their sessions."""

    def __init__(
        self,
        admission: Admission,
        sessions: Sessions,
        publisher: PublishHandler,
        store: BrokerStore,
        work: WorkQueue,
        turns: FairTurnQueue,
        observer: BrokerObserver,
        counters: Counters,
        presence: PresenceRecorder | None,
        *,
        wills: PendingWills,
        limits: Limits,
        refusals: Refusals | None = None,
    ) -> None:
        self._admission = admission
        self._sessions = sessions
        self._publisher = publisher
        self._store = store
        self._work = work
        self._observer = observer
        self._counters = counters
        self._presence = presence
        self._wills = wills
        self._limits = limits
        self._refusals = refusals or Refusals()
        self._turns = turns
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Client, connect: Connect) -> None:
        """Handle a CONNECT when its turn comes, and nothing else from the client until then."""
        source = connect.username or ""
        if self._turns.take_turn(source):
            self._take(connection, connect)
            return
        give_up = partial(self._give_up, connection, connect)
        self._turns.do_later(source, partial(self._take, connection, connect), give_up)
        connection.wait()

    def _take(self, connection: Client, connect: Connect) -> None:
        """Decide at once if the secret is cached, later otherwise."""
        if not connection.is_deciding:
            return
        decision = self._admission.decide_at_once(connect, connection.address)
        if decision is not None:
            self._act_on(decision, connection, connect)
            return
        connection.suspend()
        task = asyncio.get_running_loop().create_task(self._decide(connection, connect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel a pending decision."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self, connection: Client, rejected: Rejected, claims: Claims = NO_CLAIMS) -> None:
        """Answer with a refusal and close; what the client claims is for the record alone."""
        packet = connection.codec.connack(rejected.reason)
        code = packet[CODE_AT] if packet else None
        if code is not None:
            self._counters.refusals[code] += 1
            connection.send(packet)
        connection.close(Reason.REFUSED, is_graceful=True)
        self._refusals.connect(connection, rejected, claims, code)

    def refuse_version(self, connection: Client, error: UnsupportedProtocolError) -> None:
        """Refuse a client of another version of MQTT (3.1.2-2)."""
        why = VERSIONS.get(error.level, RefusalReason.PROTOCOL_UNKNOWN)
        self.refuse(
            connection,
            Rejected(Reason.UNSUPPORTED_PROTOCOL, why),
            Claims(client_id=error.client_id, username=error.username),
        )

    def revoke(self, connection: ClientSink) -> None:
        """Close a connection whose principal was revoked; if it has no CONNACK yet, refuse it."""
        if connection.is_deciding:
            # Only a client's connection is ever deciding.
            self._refuse_revoked(cast("Client", connection))
        else:
            connection.abort(Reason.REVOKED)

    def left(self, connection: Client, session: Session, will: Will | None, reason: Reason) -> None:
        """Detach a session from its connection; the will is published unless the client sent DISCONNECT (3.1.2-8)."""
        principal = connection.principal
        self._sessions.leave(session)
        if not connection.was_welcomed:
            # Nobody was notified that it connected, so nobody is notified that it disconnected.
            return
        self._counters.disconnections[reason] += 1
        log.info("disconnected", client_id=session.client_id, reason=reason.value, address=connection.address)
        self._observer.disconnected(session, connection.address)
        if self._presence is not None and principal is not None:
            self._presence.disconnected(principal.owner, connection, reason)
        if will is not None and principal is not None:
            self._wills.leave(session, will, principal)

    def change_expiry(self, session: Session, seconds: int) -> None:
        """Change for how long a session is kept after its connection; see `Sessions`."""
        self._sessions.change_expiry(session, seconds)

    def _refuse_revoked(self, connection: Client) -> None:
        self._refuse_known(connection, Reason.NOT_AUTHORIZED, RefusalReason.REVOKED)

    def _refuse_known(
        self,
        connection: Client,
        reason: Reason,
        why: RefusalReason,
        detail: str = "",
        admitted: Admitted | None = None,
    ) -> None:
        """Refuse a client that proved who it is."""
        principal = admitted.principal if admitted is not None else connection.principal
        session = connection.session
        client_id = admitted.client_id if admitted is not None else session.client_id if session is not None else None
        if principal is None:
            self.refuse(connection, Rejected(reason, why, detail), Claims(client_id=client_id))
            return
        rejected = Rejected(reason, why, detail, principal.device_id, is_proven=True)
        self.refuse(connection, rejected, Claims(client_id=client_id, username=principal.key))

    def _give_up(self, connection: Client, connect: Connect) -> None:
        """Close a connection whose CONNECT has no turn: too many others wait for theirs."""
        connection.abort(Reason.SERVER_BUSY)
        rejected = Rejected(Reason.SERVER_BUSY, RefusalReason.OVERLOADED)
        self._refusals.connect(connection, rejected, _claims_of(connect), None)

    async def _decide(self, connection: Client, connect: Connect) -> None:
        decision = await self._admission.decide(connect, connection.address, connection.transport)
        if connection.is_deciding:
            self._act_on(decision, connection, connect)

    def _act_on(self, decision: Admitted | Rejected, connection: Client, connect: Connect) -> None:
        if not isinstance(decision, Admitted):
            self.refuse(connection, decision, _claims_of(connect))
            return
        if self._store.is_failing and (
            self._sessions.is_ending(decision.client_id) or self._sessions.must_store(connect, decision.client_id)
        ):
            # It would have to wait for writes that fail now, and would add more of them.
            self._refuse_known(connection, Reason.SERVER_BUSY, RefusalReason.NOT_STORED, "store_failing", decision)
            return
        if connect.will is not None and self._publisher.is_full(decision.principal.owner):
            # Its will might have to wait behind too many others.
            self._refuse_known(connection, Reason.SERVER_BUSY, RefusalReason.OVERLOADED, "wills", decision)
            return
        opened = self._sessions.open(connection, connect, decision.principal, decision.client_id)
        connection.accept(opened.session, decision.principal, connect)
        if opened.session.subscriptions:
            if not self._work.do(self._take_up(connection, connect, opened), opened.session.owner):
                connection.hold()
            return
        if opened.position <= self._store.committed:
            self._welcome(connection, connect, opened)
            return
        # 3.1.2-6: a clean start ends the older session for good, so wait until it is deleted from the store.
        connection.suspend()

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            if not connection.is_deciding:
                return
            if is_stored:
                self._welcome(connection, connect, opened)
            else:
                self._refuse_known(connection, Reason.SERVER_BUSY, RefusalReason.NOT_STORED, "store_failing")
                self._forget(opened)

        self._store.after_commit(committed)

    def _take_up(self, connection: Client, connect: Connect, opened: OpenedSession) -> Iterator[int]:
        """Resume a session that has subscriptions: invalidate their routes, then answer.

        In the meantime, the connection may be closed, refused or taken over.
        """
        for cost in self._sessions.reroute(opened.session):
            yield cost
            if not connection.is_deciding:
                return
        self._welcome(connection, connect, opened)

    def _welcome(self, connection: Client, connect: Connect, opened: OpenedSession) -> None:
        session, principal = opened.session, connection.principal
        if principal is None or principal.is_revoked:
            # Of many connections of one key, this one's turn to be closed hasn't come yet.
            self._refuse_revoked(connection)
            return
        terms = self._terms(connect, session, principal) if connection.codec.tells_reasons else None
        packet = connection.codec.connack(Reason.SUCCESS, is_session_present=opened.is_present, terms=terms)
        if not packet:
            self._refuse_known(connection, Reason.PROTOCOL_ERROR, RefusalReason.MALFORMED, "maximum_packet_size")
            self._forget(opened)
            return
        connection.send(packet)
        connection.open(connect.will)
        log.info(
            "connected",
            client_id=session.client_id,
            address=connection.address,
            is_resumed=opened.is_present,
            mqtt=connection.codec.version,
        )
        self._observer.connected(session)
        self._counters.connections += 1
        if self._presence is not None:
            self._presence.connected(principal.owner, connection)
        if opened.is_present:
            self._sessions.resume(session)
        if connection.is_suspended:
            connection.proceed()

    def _forget(self, opened: OpenedSession) -> None:
        """End a new session of a client that wasn't let in: its next CONNACK must not report one as present."""
        if not opened.is_present:
            self._sessions.drop(opened.session)

    def _terms(self, connect: Connect, session: Session, principal: Principal) -> Terms:
        """Return what a client is told at its acceptance (MQTT 5.0, 3.2.2.3)."""
        limits = self._limits
        wanted = NO_END if connect.session_expiry_seconds is None else connect.session_expiry_seconds
        most = limits.max_keep_alive_seconds
        is_too_long = bool(most) and not 0 < connect.keep_alive_seconds <= most
        return Terms(
            session_expiry_seconds=session.expiry_seconds if session.expiry_seconds != wanted else None,
            receive_maximum=limits.max_unreleased,
            max_packet_bytes=limits.max_packet_bytes,
            topic_alias_maximum=limits.max_topic_aliases,
            assigned_client_id=session.client_id if not connect.client_id else None,
            keep_alive_seconds=most if is_too_long else None,
            response_information=response_topics(principal.scope) if connect.peer.wants_response_information else None,
        )


def _claims_of(connect: Connect) -> Claims:
    return Claims(connect.client_id, connect.username, connect.will.topic if connect.will is not None else None)
