"""A connection's lifecycle, from accept to close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access import Action
from fleetkey.broker.codec import Reason
from fleetkey.broker.inbound_flow import InboundFlow
from fleetkey.broker.transport.outbound import CLOSED, DECIDING, NEW, OPEN
from fleetkey.broker.transport.unread import read_unread
from fleetkey.registry import RefusalReason, RefusalStage, redacted
from fleetkey.tls import Spoken, spoken

if TYPE_CHECKING:
    import asyncio

    from fleetkey.access import Principal
    from fleetkey.broker.codec import Connect, Leave, MalformedPacketError, Will
    from fleetkey.broker.connection_parts import ConnectionParts
    from fleetkey.broker.session import Session

__all__ = ["ConnectionLifecycle"]

log = structlog.get_logger(__name__)

READ_TOPIC_BYTES, SHOWN_TOPIC = 2_048, 256
"""How much of a refused topic is looked at, and how many characters of it are logged."""
MAX_DISCARDED_BYTES = 256 * 1024
"""How much is read and discarded of a client that is told why it is disconnected; beyond that, it is cut off."""
FOREIGN_PROTOCOLS: dict[Spoken | None, RefusalReason] = {
    Spoken.TLS: RefusalReason.TLS_ON_PLAIN_PORT,
    Spoken.HTTP: RefusalReason.HTTP_ON_MQTT_PORT,
}
"""Which protocol a client speaks where MQTT is expected."""
RECORDED = {
    Reason.NOT_STORED: (RefusalReason.NOT_STORED, "store_failing"),
    Reason.SESSION_TAKEN_OVER: (RefusalReason.TAKEN_OVER, ""),
}
"""Why a connection ends that leaves a record, if nothing else has left one, with the record's detail."""
BEFORE_THE_END = frozenset({DECIDING, OPEN})


class ConnectionLifecycle(InboundFlow):
    """All of a connection except packet handling, which `Connection` adds."""

    __slots__ = (
        "_deferred_acks",
        "_discarded",
        "address",
        "is_refusal_logged",
        "keep_alive_seconds",
        "listener",
        "max_inflight",
        "principal",
        "was_welcomed",
        "will",
    )

    def __init__(self, parts: ConnectionParts, listener: str) -> None:
        super().__init__(parts)
        self.listener = listener
        self.address = ""
        self.principal: Principal | None = None
        self.will: Will | None = None
        self.keep_alive_seconds = 0.0
        self.is_refusal_logged = False
        self.was_welcomed = False
        """Whether its CONNECT was accepted."""
        self._deferred_acks = 0
        self._discarded = 0
        """Bytes that came after it was closed."""
        self.max_inflight = parts.limits.max_inflight
        """How many messages of QoS 1 and 2 may be unacknowledged at a time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accept a connection, unless a bound on connections is reached."""
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._use(transport)
        if not self._parts.connections.arrived(self):
            self.state = CLOSED
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Handle what arrived before the connection was lost, and release everything."""
        if self.state is OPEN and (data := read_unread(self.transport, exc)):
            self.data_received(data)
        self.lost()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        raise NotImplementedError

    def lost(self) -> None:
        """Release everything; the will is published unless the client sent DISCONNECT (3.1.2-8).

        Packets that arrived before are still handled, for at most `LINGER_SECONDS` after CONNECT is answered; the
        answers are discarded.
        """
        if self.state not in BEFORE_THE_END or not self.is_busy or self.is_gone or self._is_leaving:
            self.end()
            return
        self._go()
        if self.state is OPEN:
            self._scheduler.linger(self.end)
            self._continue()

    def eof_received(self) -> bool:
        """Close when the client closes its side, after sending what is pending.

        That must be handed over now: over TLS, nothing can be written once this returns.
        """
        if self.state is OPEN and not self.is_suspended and not self._backlog:
            self.close(Reason.CONNECTION_LOST)
        elif self.state is not CLOSED:
            # Packets that arrived before are still to be handled.
            self.hand_over()
        return False

    def accept(self, session: Session, principal: Principal, connect: Connect) -> None:
        """Attach to a session, before the CONNACK is sent."""
        self._parts.connections.admitted(self)
        self._parts.applications.connected(self, principal)
        self.session, self.principal, self.disk = session, principal, session.disk
        self._charge_to(session.memory)
        if principal.device_id is None:
            self._shared_owner = principal.owner
        self._rate = rate = self._parts.rates.of(principal)
        if rate is not None and (seconds := rate.wait_seconds(self._scheduler.time())) > 0:
            # It used up its rate on an earlier connection.
            self._hold_back(rate, seconds)
        limits = self._parts.limits
        keep_alive = connect.keep_alive_seconds
        if self.codec.tells_reasons and limits.max_keep_alive_seconds:
            keep_alive = min(keep_alive or limits.max_keep_alive_seconds, limits.max_keep_alive_seconds)
        self.keep_alive_seconds = keep_alive * 1.5
        self.max_inflight = min(limits.max_inflight, connect.peer.receive_maximum)
        self.codec.on_growth(self._grow)

    def _grow(self, size: int) -> None:
        """Charge more that is kept until the connection ends."""
        self._lasting_bytes += size
        self._charge()

    def hold(self) -> None:
        """Handle no packets and deliver nothing to its session until `open` and `proceed`."""
        self.is_paused = True
        self.suspend()

    def open(self, will: Will | None) -> None:
        """Start serving."""
        self.state, self.will, self.is_paused, self.was_welcomed = OPEN, will, False, True
        if will is not None:
            self._grow(len(will.topic) + len(will.payload) + len(will.properties))

    @property
    def device_id(self) -> str | None:
        """The device that authenticated on it, if it was one."""
        return self.principal.device_id if self.principal is not None else None

    @property
    def turn_owner(self) -> str:
        """Whose turn its packets wait for; before login, the one of its address."""
        return self.principal.owner if self.principal is not None else self.address

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT is unanswered and its client is still connected."""
        return self.state is DECIDING

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close the connection after sending what is pending, for which the client has `LINGER_SECONDS`.

        It counts as a connection until its socket is closed.

        Args:
            reason: for the log and the host, and for the client if its version can express it.
            is_graceful: after DISCONNECT, or by the operator: no will is published (3.14.4-3).
        """
        if self.state is CLOSED:
            if self.session is not None:
                # It was only stopped so far.
                self.abort(reason)
            return
        if is_graceful:
            self.will = None
        farewell = self.codec.disconnect(reason) if self.state is OPEN else b""
        if farewell:
            self.send(farewell)
        size = self.hand_over()
        self._last_route = None
        self.state = CLOSED
        self._rest.clear()
        self._backlog = b""
        self._part(reason)
        if self.is_gone:
            # Its socket is already closed, so nothing else would uncount it.
            self._uncount()
            return
        self._parts.lingering.add(self, size)
        self._end_sending(waits_for_client=bool(farewell))

    def _end_sending(self, *, waits_for_client: bool) -> None:
        """Close the socket once everything is sent; if its client is told why, once that closes its side.

        What a client still sends would otherwise reset the connection, and it would never read the reason. What comes
        is discarded, for at most `LINGER_SECONDS` and `MAX_DISCARDED_BYTES`.
        """
        if waits_for_client and self.transport.can_write_eof():
            self.transport.write_eof()
            if not self._is_reading:
                self._is_reading = True
                self.transport.resume_reading()
        else:
            self.transport.close()

    def _discard(self, size: int) -> None:
        """Count bytes that came after the connection was closed; a client that goes on sending is cut off."""
        self._discarded += size
        if self._discarded > MAX_DISCARDED_BYTES:
            self.transport.abort()

    def abort(self, reason: Reason) -> None:
        """Close at once, discarding the will and unsent data; the client is told why, if its version can.

        Safe to call again, and after `close`.
        """
        if self.state is CLOSED and self.session is None:
            return
        farewell = self.codec.disconnect(reason) if self.was_welcomed and not self.is_gone else b""
        self.stop()
        self._part(reason)
        if farewell and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.write(farewell)
            self._parts.lingering.add(self, len(farewell))
            self._end_sending(waits_for_client=True)
            return
        self._uncount()
        self.transport.abort()

    def stop(self) -> None:
        """Send and handle nothing more, and discard the will; `abort`, which takes longer, must follow."""
        self.will = self._last_route = None
        self._forget()
        self.state = CLOSED

    def end(self) -> None:
        """Release everything, including the session; safe to call again."""
        is_lost = self.state is not CLOSED and not self._is_leaving
        self.state = CLOSED
        self._last_route = None
        self._forget()
        self._rest.clear()
        self._backlog = b""
        self._part(Reason.CONNECTION_LOST if is_lost else Reason.CLIENT_DISCONNECTED)
        self._uncount()

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Send an acknowledgement once the store has committed up to a position, after older ones (4.6.0-2).

        One that is empty is too long for the client.
        """
        store = self._parts.store
        if position <= store.committed and not self._deferred_acks:
            if packet:
                self.send(packet)
            return
        self._deferred_acks += 1

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            self._deferred_acks -= 1
            if self.state is CLOSED:
                return
            if not is_stored:
                self.close(Reason.NOT_STORED)
            elif packet:
                self.send(packet)

        store.after_commit(committed)
        self._wait_if_behind()

    def log_refusal(self, action: str, topic: bytes, why: RefusalReason | None = None, detail: str = "") -> None:
        """Record a refused topic; log only the first one of a connection, since the others would repeat it.

        Args:
            action: `publish` or `subscribe`.
            topic: the topic or filter.
            why: why it is refused; None for a publish, for which it is found out here, off the path of messages.
            detail: more, in our own words.
        """
        principal, client_id = self.principal, self.session.client_id if self.session else ""
        shown = redacted(topic[:READ_TOPIC_BYTES].decode(errors="replace"))[:SHOWN_TOPIC]
        if why is None:
            if principal is not None and principal.is_revoked:
                why = RefusalReason.REVOKED
            elif (
                self._parts.topic_authorizer
                and principal is not None
                and principal.allows(Action.PUBLISH, topic.decode(errors="replace"))
            ):
                why = RefusalReason.PLUGIN_REFUSED
            else:
                why = RefusalReason.FOREIGN_TOPIC
        self._parts.refusals.topic(RefusalStage(action), self, principal, client_id, shown, why, detail)
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            log.info(
                "topic_refused",
                action=action,
                reason=why.value,
                key=principal.key if principal is not None else None,
                device_id=principal.device_id if principal is not None else None,
                client_id=client_id,
                topic=shown,
            )

    def note_closed(self, why: RefusalReason, detail: str = "") -> None:
        """Record that the connection is about to be closed because of what its client did, or didn't do."""
        if self.session is None:
            self._parts.refusals.early(self, why, detail)
        else:
            self._parts.refusals.closed(self, self.principal, self.session.client_id, why, detail)

    def give_up_for_room(self) -> None:
        """Close: there has been no room for the rest of its packet for too long."""
        memory = self.memory
        bound = memory.bound_reached(0) if memory is not None else "memory"
        self._parts.bounds.reached(bound, owner=memory.owner if memory is not None else "")
        self.note_closed(RefusalReason.BOUND_REACHED, bound)
        self.abort(Reason.QUOTA_EXCEEDED)

    def _note_malformed(self, error: MalformedPacketError, data: bytes) -> None:
        """Record what is wrong with a packet, or which protocol it is that begins with `data`."""
        if self.state is NEW and (why := FOREIGN_PROTOCOLS.get(spoken(data))) is not None:
            self.note_closed(why)
        elif error.bound:
            self.note_closed(RefusalReason.BOUND_REACHED, error.bound)
        else:
            self.note_closed(RefusalReason.MALFORMED, str(error))

    def _leave(self, leave: Leave) -> None:
        """Close, usually without the will (3.14.4-3), after sending the answers that wait for the store."""
        if leave.session_expiry_seconds is not None and self.session is not None:
            self._parts.on_connect.change_expiry(self.session, leave.session_expiry_seconds)
        if not leave.sends_will:
            self.will = None
        is_graceful, store = not leave.sends_will, self._parts.store
        if store.is_failing or not (self._deferred_acks or (self.session is not None and self.session.unsent)):
            self.close(Reason.CLIENT_DISCONNECTED, is_graceful=is_graceful)
            return
        self._is_leaving = True
        self.suspend()
        store.after_commit(lambda _: self.close(Reason.CLIENT_DISCONNECTED, is_graceful=is_graceful))

    def _part(self, reason: Reason) -> None:
        """Detach from the session; safe to call again."""
        session, will, rate = self.session, self.will, self._rate
        self.session = self.will = self._rate = None
        if rate is not None:
            if will is not None:
                size = len(will.topic.encode()) + len(will.payload) + len(will.properties)
                rate.take(self._scheduler.time(), size)
            self._parts.rates.leave(rate)
        if session is not None and reason in RECORDED:
            self._parts.refusals.closed(self, self.principal, session.client_id, *RECORDED[reason])
        if session is not None and session.connection is self:
            self._parts.on_connect.left(self, session, will, reason)

    def _uncount(self) -> None:
        """Stop counting the connection and its pending bytes: its socket is closed; safe to call again."""
        self._charge_to(None)
        self._parts.held_back.discard(self)
        self._parts.connections.left(self)
        self._parts.applications.disconnected(self)
        self._parts.lingering.discard(self)
