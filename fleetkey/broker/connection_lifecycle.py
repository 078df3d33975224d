"""A connection's lifecycle and back pressure: from accept to close, and when to stop reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from fleetkey.broker.codec import MQTT_3_1_1, Codec, Reason
from fleetkey.broker.transport.outbound import OutboundStream, State
from fleetkey.broker.transport.unread import read_unread

if TYPE_CHECKING:
    import asyncio

    from fleetkey.access import Principal
    from fleetkey.broker.application_shares import ApplicationShares
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.codec import Connect, Will
    from fleetkey.broker.connection_limits import ConnectionLimits
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.device_rates import DeviceRate, DeviceRates
    from fleetkey.broker.handlers import AcknowledgeHandler, ConnectHandler, PublishHandler, SubscribeHandler
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.lingering import Lingering
    from fleetkey.broker.owner_room import OwnerRoom
    from fleetkey.broker.ports import BrokerObserver, TopicAuthorizer
    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.router import Router
    from fleetkey.broker.scheduler import Scheduler
    from fleetkey.broker.session import Session
    from fleetkey.broker.store import BrokerStore
    from fleetkey.budget import Account

__all__ = ["ConnectionLifecycle", "ConnectionParts"]

log = structlog.get_logger(__name__)

BY_RATE, BY_BUDGET = 1, 2
"""Why a connection is held back."""
BEFORE_THE_END = frozenset({State.DECIDING, State.OPEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParts:
    """The broker's parts that connections use; shared, so that each connection holds a single reference."""

    limits: Limits
    scheduler: Scheduler
    store: BrokerStore
    router: Router
    delivery: Delivery
    observer: BrokerObserver
    topic_authorizer: TopicAuthorizer
    connections: ConnectionLimits
    applications: ApplicationShares
    rates: DeviceRates
    room: OwnerRoom
    lingering: Lingering
    bounds: BoundLog
    on_connect: ConnectHandler
    on_publish: PublishHandler
    on_subscribe: SubscribeHandler
    on_acknowledge: AcknowledgeHandler


class ConnectionLifecycle(OutboundStream):
    """All of a connection except packet handling, which `Connection` adds."""

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_deferred_acks",
        "_is_leaving",
        "_is_reading",
        "_is_resting",
        "_is_working",
        "_last_route",
        "_parts",
        "_rate",
        "_rest",
        "address",
        "codec",
        "disk",
        "held_back_by",
        "is_refusal_logged",
        "is_suspended",
        "keep_alive_seconds",
        "last_heard",
        "listener",
        "principal",
        "was_welcomed",
        "will",
    )

    def __init__(self, parts: ConnectionParts, listener: str) -> None:
        super().__init__(parts.scheduler, parts.observer, parts.limits.write_buffer_bytes)
        self._parts = parts
        self.listener = listener
        self.address = ""
        self.codec: Codec = MQTT_3_1_1
        """The codec of the protocol version, which CONNECT determines."""
        self.principal: Principal | None = None
        self.will: Will | None = None
        self.disk: Account | None = None
        """Its owner's account for disk space, once its client is authenticated."""
        self.keep_alive_seconds = 0.0
        self.last_heard = parts.scheduler.now
        """When the last complete packet arrived, with the precision of `Scheduler.now`."""
        self.is_refusal_logged = False
        self.was_welcomed = False
        """Whether its CONNECT was accepted."""
        self.is_suspended = False
        """Whether packet handling is suspended until `proceed`."""
        self.held_back_by = 0
        """Why nothing is handled for a while: `BY_RATE`, `BY_BUDGET` or both; 0 = it is not held back."""
        self._rate: DeviceRate | None = None
        """How fast it may publish; None for no limit."""
        self._rest = bytearray()
        """The beginning of an incomplete packet."""
        self._backlog = b""
        """Received bytes that wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
        self._is_resting = False
        """Whether nothing is read for a while, as the client sends little at a time."""
        self._is_working = False
        """Whether a packet's job, or the sending of its message, still continues over several turns."""
        self._is_leaving = False
        """Whether DISCONNECT arrived, and answers to earlier packets still wait for the store."""
        self._deferred_acks = 0
        self._last_route: Route | None = None
        """The route of the last message, if it was QoS 0 and another one may take the fast path."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accept a connection, unless a bound on connections is reached."""
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._use(transport)
        if not self._parts.connections.arrived(self):
            self.state = State.CLOSED
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Handle what arrived before the connection was lost, and release everything."""
        if self.state is State.OPEN and (data := read_unread(self.transport, exc)):
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
        if self.state is State.OPEN:
            self._scheduler.linger(self.end)
            self._continue()

    def eof_received(self) -> bool:
        """Close when the client closes its side, after sending what is pending.

        That must be handed over now: over TLS, nothing can be written once this returns.
        """
        if self.state is State.OPEN and not self.is_suspended and not self._backlog:
            self.close(Reason.CONNECTION_LOST)
        elif self.state is not State.CLOSED:
            # Packets that arrived before are still to be handled.
            self.hand_over()
        return False

    def accept(self, session: Session, principal: Principal, connect: Connect) -> None:
        """Attach to a session, before the CONNACK is sent."""
        self._parts.connections.admitted(self)
        self._parts.applications.connected(self, principal)
        self.session, self.principal, self.disk = session, principal, session.disk
        self._charge_to(session.memory)
        self._rate = rate = self._parts.rates.of(principal)
        if rate is not None and (seconds := rate.wait_seconds(self._scheduler.time())) > 0:
            # It used up its rate on an earlier connection.
            self._hold_back(rate, seconds)
        self.keep_alive_seconds = connect.keep_alive_seconds * 1.5

    def hold(self) -> None:
        """Handle no packets and deliver nothing to its session until `open` and `proceed`."""
        self.is_paused = True
        self.suspend()

    def open(self, will: Will | None) -> None:
        """Start serving."""
        self.state, self.will, self.is_paused, self.was_welcomed = State.OPEN, will, False, True

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT is unanswered and its client is still connected."""
        return self.state is State.DECIDING

    @property
    def is_busy(self) -> bool:
        """Whether received packets are still to be handled."""
        return self.state is not State.CLOSED and (bool(self._backlog) or self._is_working)

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close the connection after sending what is pending, for which the client has `LINGER_SECONDS`.

        It counts as a connection until its socket is closed.

        Args:
            reason: for the log and the host, and for the client if its version can express it.
            is_graceful: after DISCONNECT, or by the operator: no will is published (3.14.4-3).
        """
        if self.state is State.CLOSED:
            if self.session is not None:
                # It was only stopped so far.
                self.abort(reason)
            return
        if is_graceful:
            self.will = None
        if self.state is State.OPEN and (farewell := self.codec.disconnect(reason)):
            self.send(farewell)
        size = self.hand_over()
        self._last_route = None
        self.state = State.CLOSED
        self._rest.clear()
        self._backlog = b""
        self._part(reason)
        if self.is_gone:
            # Its socket is already closed, so nothing else would uncount it.
            self._uncount()
            return
        self._parts.lingering.add(self, size)
        self.transport.close()

    def abort(self, reason: Reason) -> None:
        """Close at once, discarding the will and unsent data."""
        self.stop()
        self._part(reason)
        self._uncount()
        self.transport.abort()

    def stop(self) -> None:
        """Send and handle nothing more, and discard the will; `abort`, which takes longer, must follow."""
        self.will = self._last_route = None
        self._forget()
        self.state = State.CLOSED

    def end(self) -> None:
        """Release everything, including the session; safe to call again."""
        is_lost = self.state is not State.CLOSED and not self._is_leaving
        self.state = State.CLOSED
        self._last_route = None
        self._forget()
        self._rest.clear()
        self._backlog = b""
        self._part(Reason.CONNECTION_LOST if is_lost else Reason.CLIENT_DISCONNECTED)
        self._uncount()

    def wait(self) -> None:
        """Handle nothing more until `proceed`, which is soon: reading is only paused if something arrives meanwhile."""
        self.is_suspended, self._last_route = True, None

    def suspend(self) -> None:
        """Handle nothing more until `proceed`, and pause reading."""
        self.is_suspended, self._last_route = True, None
        self._update_reading()

    def proceed(self) -> None:
        """Resume handling packets."""
        if self._is_leaving:
            return
        self.is_suspended = False
        self._update_reading()
        self._continue()

    def begin_work(self) -> None:
        """Handle nothing more until `end_work`: a packet takes several turns."""
        self._is_working = True
        self.suspend()

    def end_work(self) -> None:
        """Resume handling packets after `begin_work`, unless too much is waiting for the store."""
        if not self._is_working:
            return
        self._is_working = self.is_suspended = False
        self._wait_if_behind()
        if not self.is_suspended:
            self.proceed()

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Send an acknowledgement once the store has committed up to a position, after older ones (4.6.0-2)."""
        store = self._parts.store
        if position <= store.committed and not self._deferred_acks:
            self.send(packet)
            return
        self._deferred_acks += 1

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            self._deferred_acks -= 1
            if self.state is State.CLOSED:
                return
            if is_stored:
                self.send(packet)
            else:
                self.close(Reason.NOT_STORED)

        store.after_commit(committed)
        self._wait_if_behind()

    def log_refusal(self, action: str, topic: bytes) -> None:
        """Log only the first refusal of a connection, since the others would repeat it."""
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            client_id = self.session.client_id if self.session else ""
            log.info("topic_refused", action=action, client_id=client_id, topic=topic[:256].decode(errors="replace"))

    def _leave(self) -> None:
        """Close without the will (3.14.4-3), after sending the answers that wait for the store."""
        self.will = None
        store = self._parts.store
        if store.is_failing or not (self._deferred_acks or (self.session is not None and self.session.unsent)):
            self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True)
            return
        self._is_leaving = True
        self.suspend()
        store.after_commit(lambda _: self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True))

    def _part(self, reason: Reason) -> None:
        """Detach from the session; safe to call again."""
        session, will, rate = self.session, self.will, self._rate
        self.session = self.will = self._rate = None
        if rate is not None:
            if will is not None:
                rate.take(self._scheduler.time(), len(will.topic.encode()) + len(will.payload))
            self._parts.rates.leave(rate)
        if session is not None and session.connection is self:
            self._parts.on_connect.left(self, session, will, reason)

    def _uncount(self) -> None:
        """Stop counting the connection and its pending bytes: its socket is closed; safe to call again."""
        self._charge_to(None)
        self._parts.room.discard(self)
        self._parts.connections.left(self)
        self._parts.applications.disconnected(self)
        self._parts.lingering.discard(self)

    def _on_full(self) -> None:
        self._last_route = None
        self._update_reading()

    def _on_room(self) -> None:
        self._update_reading()
        if self.session is not None and self.state is State.OPEN:
            self._parts.delivery.drain(self.session)
        self._continue()

    def let_go(self) -> None:
        """Handle packets again: the device is within its rate."""
        self._end_hold(BY_RATE)

    def wait_for_room(self) -> None:
        """Handle nothing more until `resume_for_a_turn`: there is no room for what its owner makes the server keep."""
        if self.state is State.OPEN and not self.held_back_by & BY_BUDGET:
            self.held_back_by |= BY_BUDGET
            self._last_route = None
            self._update_reading()
            self._parts.room.wait(self)

    def resume_for_a_turn(self) -> None:
        """Handle a turn's worth of packets."""
        self._end_hold(BY_BUDGET)

    def _end_hold(self, why: int) -> None:
        if self.state is State.CLOSED:
            return
        self.held_back_by &= ~why
        # Its client may have had to wait for longer than its keep-alive.
        self.last_heard = self._scheduler.now
        self._continue()

    def _hold_back(self, rate: DeviceRate, seconds: float) -> None:
        """Handle nothing more for so many seconds: the device is over its rate."""
        self.held_back_by |= BY_RATE
        self._update_reading()
        self._parts.rates.hold_back(rate, self, seconds)

    def _rest_from_reading(self) -> None:
        """Read nothing for a while: many clients that send byte by byte would cost a read for each."""
        if not self._is_resting:
            self._is_resting = True
            self._update_reading()
            self._parts.scheduler.rests.add(self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        self._update_reading()

    def _update_reading(self) -> None:
        should_read = not (
            self.is_paused or self.is_suspended or self._backlog or self._is_resting or self.held_back_by
        )
        if self.state is State.CLOSED or self.is_gone or should_read == self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _continue(self) -> None:
        if self.state is State.CLOSED or self.is_suspended or self.is_paused or self.held_back_by:
            return
        if self._backlog:
            data, position = self._backlog, self._backlog_at
            self._backlog = b""
            self._handle_all(data, position)
            self._check_room()
        if self.is_gone and not self.is_busy:
            self.end()
        self._update_reading()

    def _wait_if_behind(self) -> None:
        """Stop handling packets until the next commit if too much is waiting for the store."""
        store = self._parts.store
        if store.is_behind and not self.is_suspended:
            self.suspend()
            store.after_commit(self._store_caught_up)

    def _store_caught_up(self, is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
        del is_stored
        # The job of a packet that had to wait in its first piece resumes packet handling itself.
        if not self._is_working:
            self.proceed()

    def _incoming_bytes(self) -> int:
        return len(self._rest) + len(self._backlog)

    def _check_room(self) -> None:
        """After handling input: charge what is left of it, and wait if there is no room or its owner is held back."""
        memory, disk = self.memory, self.disk
        if memory is None or disk is None:
            return
        fits = True
        if self._rest or self._backlog or self._charged > self._idle_bytes:
            fits = self._charge()
        if not fits or memory.is_held_back or disk.is_held_back:
            self.wait_for_room()

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        """Handle received bytes, from `position` on."""
        raise NotImplementedError
