"""A connection's life and its back pressure: from the first byte to the last, and when it takes no more."""

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
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.codec import Connect, Will
    from fleetkey.broker.connection_limits import ConnectionLimits
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.handlers import AcknowledgeHandler, ConnectHandler, PublishHandler, SubscribeHandler
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.lingering import Lingering
    from fleetkey.broker.ports import BrokerObserver, TopicAuthorizer
    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.router import Router
    from fleetkey.broker.scheduler import Scheduler
    from fleetkey.broker.session import Session
    from fleetkey.broker.store import BrokerStore

__all__ = ["ConnectionLifecycle", "ConnectionParts"]

log = structlog.get_logger(__name__)

BEFORE_THE_END = frozenset({State.DECIDING, State.OPEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParts:
    """What every connection works with; one for all of them, so that each holds one reference."""

    limits: Limits
    scheduler: Scheduler
    store: BrokerStore
    router: Router
    delivery: Delivery
    observer: BrokerObserver
    topic_authorizer: TopicAuthorizer
    connections: ConnectionLimits
    lingering: Lingering
    bounds: BoundLog
    on_connect: ConnectHandler
    on_publish: PublishHandler
    on_subscribe: SubscribeHandler
    on_acknowledge: AcknowledgeHandler


class ConnectionLifecycle(OutboundStream):
    """Everything of a connection but the packets, which `Connection` handles."""

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_deferred_acks",
        "_is_leaving",
        "_is_reading",
        "_is_working",
        "_last_route",
        "_parts",
        "_rest",
        "address",
        "codec",
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
        """That of the protocol version; CONNECT chooses it."""
        self.principal: Principal | None = None
        self.will: Will | None = None
        self.keep_alive_seconds = 0.0
        self.last_heard = parts.scheduler.now
        """When a whole packet came, as exact as `Scheduler.now` is."""
        self.is_refusal_logged = False
        self.was_welcomed = False
        """Whether its CONNECT was accepted."""
        self.is_suspended = False
        """Whether nothing is taken from it until something else has happened."""
        self._rest = bytearray()
        """The beginning of a packet whose end hasn't come."""
        self._backlog = b""
        """Bytes that came and wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
        self._is_working = False
        """Whether a packet is still being handled, in turns."""
        self._is_leaving = False
        """Whether DISCONNECT came, and answers to what came before it still wait for the store."""
        self._deferred_acks = 0
        self._last_route: Route | None = None
        """Where the last message went, if it was a QoS 0 one and nothing is in the way of another."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection in, if there is room for it."""
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._use(transport)
        if not self._parts.connections.arrived(self):
            self.state = State.CLOSED
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything, after what came before is handled."""
        if self.state is State.OPEN and (data := read_unread(self.transport, exc)):
            self.data_received(data)
        self.lost()

    def data_received(self, data: bytes) -> None:
        """Handle what came."""
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of everything; the will goes out unless DISCONNECT came (3.1.2-8).

        What came before is still handled, for at most `LINGER_SECONDS` after CONNECT is answered; the answers go
        nowhere.
        """
        if self.state not in BEFORE_THE_END or not self.is_busy or self.is_gone or self._is_leaving:
            self.end()
            return
        self._go()
        if self.state is State.OPEN:
            self._scheduler.linger(self.end)
            self._continue()

    def eof_received(self) -> bool:
        """Close when the client closes its side; what was to be sent is sent.

        It has to be handed over now: over TLS, nothing can be written once this returns.
        """
        if self.state is State.OPEN and not self.is_suspended and not self._backlog:
            self.close(Reason.CONNECTION_LOST)
        elif self.state is not State.CLOSED:
            # What came before is still to be handled.
            self.hand_over()
        return False

    def accept(self, session: Session, principal: Principal, connect: Connect) -> None:
        """Become the connection of a session; CONNECT is still to be answered."""
        self._parts.connections.admitted(self)
        self.session, self.principal = session, principal
        self.keep_alive_seconds = connect.keep_alive_seconds * 1.5

    def hold(self) -> None:
        """Take nothing, and deliver nothing to its session, until `open` and `proceed`."""
        self.is_paused = True
        self.suspend()

    def open(self, will: Will | None) -> None:
        """Begin to serve."""
        self.state, self.will, self.is_paused, self.was_welcomed = State.OPEN, will, False, True

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT isn't answered yet, and its client is still there."""
        return self.state is State.DECIDING

    @property
    def is_busy(self) -> bool:
        """Whether something that came in is still to be handled."""
        return self.state is not State.CLOSED and (bool(self._backlog) or self._is_working)

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close the connection after what is to be sent is sent; a client that doesn't read has `LINGER_SECONDS`.

        Until its socket is closed, it counts as a connection.

        Args:
            reason: for the client, if its version has a word for it, the log and the host.
            is_graceful: after DISCONNECT, or by the operator: no will (3.14.4-3).
        """
        if self.state is State.CLOSED:
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
            # Its socket is closed already, so nothing else would uncount it.
            self._uncount()
            return
        self._parts.lingering.add(self, size)
        self.transport.close()

    def abort(self, reason: Reason) -> None:
        """Close at once, without the will and whatever is still to be written."""
        self.will = self._last_route = None
        self._forget()
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._part(reason)
        self._uncount()
        self.transport.abort()

    def end(self) -> None:
        """Part from the session; safe to call again."""
        is_lost = self.state is not State.CLOSED and not self._is_leaving
        self.state = State.CLOSED
        self._last_route = None
        self._forget()
        self._rest.clear()
        self._backlog = b""
        self._part(Reason.CONNECTION_LOST if is_lost else Reason.CLIENT_DISCONNECTED)
        self._uncount()

    def suspend(self) -> None:
        """Handle nothing more until `proceed`; what comes in meanwhile is not read."""
        self.is_suspended, self._last_route = True, None
        self._update_reading()

    def proceed(self) -> None:
        """Go on handling."""
        if self._is_leaving:
            return
        self.is_suspended = False
        self._update_reading()
        self._continue()

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Send an acknowledgement once the store has committed up to a position, and behind older ones (4.6.0-2)."""
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
        """Log the first refusal of a connection; the others would only repeat it."""
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            client_id = self.session.client_id if self.session else ""
            log.info("topic_refused", action=action, client_id=client_id, topic=topic[:256].decode(errors="replace"))

    def _leave(self) -> None:
        """Close without the will (3.14.4-3), after the answers that wait for the store."""
        self.will = None
        store = self._parts.store
        if store.is_failing or not (self._deferred_acks or (self.session is not None and self.session.unsent)):
            self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True)
            return
        self._is_leaving = True
        self.suspend()
        store.after_commit(lambda _: self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True))

    def _part(self, reason: Reason) -> None:
        """Part from the session; safe to call again."""
        session, will = self.session, self.will
        self.session = self.will = None
        if session is not None and session.connection is self:
            self._parts.on_connect.left(self, session, will, reason)

    def _uncount(self) -> None:
        """Its socket is closed, and keeps nothing; safe to call again."""
        self._parts.connections.left(self)
        self._parts.lingering.discard(self)

    def _on_full(self) -> None:
        self._last_route = None
        self._update_reading()

    def _on_room(self) -> None:
        self._update_reading()
        if self.session is not None and self.state is State.OPEN:
            self._parts.delivery.drain(self.session)
        self._continue()

    def _update_reading(self) -> None:
        should_read = not self.is_paused and not self.is_suspended and not self._backlog
        if self.state is State.CLOSED or self.is_gone or should_read == self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _continue(self) -> None:
        if self.state is State.CLOSED or self.is_suspended or self.is_paused:
            return
        if self._backlog:
            data, position = self._backlog, self._backlog_at
            self._backlog = b""
            self._handle_all(data, position)
        if self.is_gone and not self.is_busy:
            self.end()
        self._update_reading()

    def _wait_if_behind(self) -> None:
        """Take nothing more until the store has committed, if too much waits for it."""
        store = self._parts.store
        if store.is_behind and not self.is_suspended:
            self.suspend()
            store.after_commit(lambda _: self.proceed())

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        """Handle what came, from `position` on."""
        raise NotImplementedError
