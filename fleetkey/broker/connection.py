"""One client's connection: bytes in, packets handled at once, bytes out. No task, no queue, no coroutine a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import Action
from fleetkey.broker.codec import (
    MQTT_3_1_1,
    Codec,
    Kind,
    MalformedPacketError,
    Reason,
    TooManyFiltersError,
    UnsupportedProtocolError,
    read_connect,
)
from fleetkey.broker.codec.frame import ONE_BYTE_LENGTH, is_two_byte_length, read_length
from fleetkey.broker.codec.reader import decode_text
from fleetkey.broker.session import Message
from fleetkey.broker.transport.outbound import OutboundStream, State, drain_tls

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Iterator

    from fleetkey.access import Principal, TopicScope
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

__all__ = ["Connection", "ConnectionParts"]

log = structlog.get_logger(__name__)

PACKETS_PER_TURN = 16
"""Packets of one connection that are handled before the others get a turn; one that has filters ends the turn."""
MAX_REMEMBERED_TOPICS = 256
"""Decisions on topics that one connection remembers."""
MAX_UNDECIDED_BYTES = 64 * 1024
"""What a client may send behind its CONNECT before that is answered."""
QOS_0_PUBLISH = 0x30
PINGRESP = bytes((Kind.PINGRESP << 4, 0))
SHORT_PACKET_BYTES = ONE_BYTE_LENGTH + 2
"""The longest packet whose remaining length is one byte (2.2.3)."""
BODILESS = frozenset({Kind.PINGREQ, Kind.DISCONNECT})
BEFORE_THE_END = frozenset({State.DECIDING, State.OPEN})
FLAGS_OF_TWO = frozenset({Kind.PUBREL, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE})
WITH_FILTERS = frozenset({Kind.SUBSCRIBE << 4 | 2, Kind.UNSUBSCRIBE << 4 | 2})


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


class Connection(OutboundStream):
    """An `asyncio.Protocol`; the WebSocket listener feeds the same class."""

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_deferred_acks",
        "_hears_in",
        "_is_leaving",
        "_is_reading",
        "_is_working",
        "_last_route",
        "_max_length",
        "_need",
        "_parts",
        "_publisher",
        "_rest",
        "_routes",
        "_scope",
        "address",
        "codec",
        "is_refusal_logged",
        "is_suspended",
        "keep_alive_seconds",
        "last_heard",
        "listener",
        "principal",
        "will",
    )

    def __init__(self, parts: ConnectionParts, listener: str) -> None:
        super().__init__(parts.scheduler, parts.observer, parts.limits.write_buffer_bytes)
        self._parts = parts
        self._publisher = parts.on_publish
        self.listener = listener
        self.codec: Codec = MQTT_3_1_1
        """That of the protocol version; CONNECT chooses it."""
        self.address = ""
        self.principal: Principal | None = None
        self.will: Will | None = None
        self.keep_alive_seconds = 0.0
        self.last_heard = parts.scheduler.now
        """When a whole packet came, as exact as `Scheduler.now` is."""
        self.is_refusal_logged = False
        self._hears_in = parts.observer.hears_packets_in
        self._max_length = parts.limits.max_connect_bytes
        self._rest = bytearray()
        self._need = 2
        self._backlog = b""
        """Bytes that came and wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
        self._is_leaving = False
        """Whether DISCONNECT came, and answers to what came before it still wait for the store."""
        self.is_suspended = False
        """Whether nothing is taken from it until something else has happened."""
        self._is_working = False
        """Whether a packet is still being handled (`_do`)."""
        self._deferred_acks = 0
        self._scope: TopicScope | None = None
        self._routes: dict[bytes, Route | None] = {}
        """Where the topics that were decided lead, as long as the scope is `_scope`; None is a refusal."""
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
        del exc
        if self.state in BEFORE_THE_END and not self.is_gone:
            self._take_rest(drain_tls(self.transport))
        self.lost()

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

    def _take_rest(self, data: bytes) -> None:
        """Keep what came last for the next turn, behind what came before it."""
        if not data:
            return
        if self._backlog:
            self._backlog += data
        else:
            self._backlog, self._backlog_at = bytes(self._rest) + data, 0
            self._rest.clear()

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

    def data_received(self, data: bytes) -> None:
        """Handle what came, packet by packet."""
        route, principal, size = self._last_route, self.principal, len(data)
        start = 2 if size <= SHORT_PACKET_BYTES else 3
        if (
            route is not None
            and data.startswith(route.head, start)
            and data[0] == QOS_0_PUBLISH
            and (data[1] == size - 2 if start == 2 else is_two_byte_length(data, size - 3))  # noqa: PLR2004
            and size - start <= self._max_length
            and not route.branch.is_over
            and principal is not None
            and not principal.is_revoked
        ):
            # One whole message to where the last one went: what most of a fleet sends most of the time.
            self.last_heard = self._scheduler.now
            self._publisher.forward(self, route, data, start + len(route.head))
            return
        if self.state is State.CLOSED:
            return
        if self._backlog:
            self._backlog += data
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._handle_all(data)

    @property
    def is_busy(self) -> bool:
        """Whether something that came in is still to be handled."""
        return self.state is not State.CLOSED and (bool(self._backlog) or self._is_working)

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

    def accept(self, session: Session, principal: Principal, connect: Connect) -> None:
        """Become the connection of a session; CONNECT is still to be answered."""
        self._parts.connections.admitted(self)
        self.session, self.principal = session, principal
        self.keep_alive_seconds = connect.keep_alive_seconds * 1.5

    def open(self, will: Will | None) -> None:
        """Begin to serve."""
        self.state, self.will = State.OPEN, will

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT isn't answered yet, and its client is still there."""
        return self.state is State.DECIDING

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

    def _on_disconnect(self) -> None:
        """Close without the will (3.14.4-3), after the answers that wait for the store."""
        self.will = None
        store = self._parts.store
        if store.is_failing or not (self._deferred_acks or (self.session is not None and self.session.unsent)):
            self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True)
            return
        self._is_leaving = True
        self.suspend()
        store.after_commit(lambda _: self.close(Reason.CLIENT_DISCONNECTED, is_graceful=True))

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

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        try:
            self._split(data, position)
        except MalformedPacketError as error:
            self._close_malformed(error)
        except UnsupportedProtocolError:
            self.send(self.codec.connack(Reason.UNSUPPORTED_PROTOCOL))
            self.close(Reason.UNSUPPORTED_PROTOCOL, is_graceful=True)

    def _close_malformed(self, error: MalformedPacketError) -> None:
        if self.session is not None and isinstance(error, TooManyFiltersError):
            self._parts.bounds.reached("max_subscriptions_per_application", client_id=self.session.client_id)
        if self.state is State.OPEN:
            log.info("malformed_packet", client_id=self.session and self.session.client_id, error=str(error))
        self.close(error.reason)

    def _split(self, data: bytes, position: int) -> None:  # noqa: PLR0912, PLR0915 - the one hot loop
        """Split bytes into packets (2.2) and handle each, at most `PACKETS_PER_TURN` of them now."""
        size, turns, routes = len(data), PACKETS_PER_TURN, self._routes
        last_route: Route | None = None
        self._last_route = None
        while size - position > 1:
            length, start = data[position + 1], position + 2
            if length > 0x7F:  # noqa: PLR2004 - the continuation bit
                length, start = read_length(data, position)
                if start < 0:
                    self._need = size - position + 1
                    break
            if length > self._max_length or self.state is State.NEW:
                self._check_announced(data[position], length)
            end = start + length
            if end > size:
                self._need = end - position
                break
            if turns <= 0 or self.is_suspended or self.is_paused:
                self._wait_for_turn(data, position)
                return
            turns -= 1
            first, last_route = data[position], None
            if self._hears_in:
                self._observer.packet_received(data[position:end], self.session)
            if 0x30 <= first <= 0x3F and self.session is not None:  # noqa: PLR2004 - PUBLISH with any flags
                if length < 2:  # noqa: PLR2004 - the length of the topic
                    msg = "PUBLISH without a topic"
                    raise MalformedPacketError(msg)
                topic_end = start + 2 + (data[start] << 8 | data[start + 1])
                topic_bytes = data[start + 2 : topic_end]
                principal, session = self.principal, self.session
                if principal is None or topic_end > end:
                    msg = "a topic that ends after its packet"
                    raise MalformedPacketError(msg)
                if self._scope is not principal.scope:
                    self._scope = principal.scope
                    routes.clear()
                try:
                    route = routes[topic_bytes]
                except KeyError:
                    route = self._decide_topic(principal, topic_bytes)
                if principal.is_revoked:
                    route = None
                elif route is not None and route.branch.is_over:
                    route = self._renew(route)
                if route is None:
                    self.log_refusal("publish", topic_bytes)
                if first != QOS_0_PUBLISH:
                    self._on_publish(session, first, data, topic_bytes, route, topic_end, end)
                elif route is not None:
                    self._publisher.forward(self, route, data[position:end], topic_end - position)
                    last_route = route
            else:
                self._on_packet(first, data, start, end)
                if first in WITH_FILTERS:
                    turns = 0
            if self.state is State.CLOSED:
                return
            position = end
        else:
            self._need = 2
        if turns < PACKETS_PER_TURN:
            # 3.1.2-24: whole packets keep a connection alive, bytes don't.
            self.last_heard = self._scheduler.now
        if position < size:
            self._rest += data[position:] if position else data
        elif not (self.is_paused or self._hears_in or self._observer.hears_messages or self._parts.topic_authorizer):
            self._last_route = last_route

    def _wait_for_turn(self, data: bytes, position: int) -> None:
        """Keep the bytes from `position` on until the other connections had their turn, or until `proceed`."""
        if self.state is State.DECIDING and len(data) - position > MAX_UNDECIDED_BYTES:
            msg = "too much before the answer to CONNECT"
            raise MalformedPacketError(msg)
        self._backlog, self._backlog_at = data, position
        self.last_heard = self._scheduler.now
        self._update_reading()
        if not self.is_suspended and not self.is_paused:
            self.call_next_turn(self._continue)

    def _check_announced(self, first: int, length: int) -> None:
        """Refuse a packet by its announced length, before any of it is kept."""
        if self.state is State.NEW and first != Kind.CONNECT << 4:
            msg = "the first packet is not a CONNECT"
            raise MalformedPacketError(msg)
        if length > self._max_length:
            if self.session is not None:
                self._parts.bounds.reached("max_packet_bytes", client_id=self.session.client_id)
            else:
                self._parts.bounds.reached("max_connect_bytes", address=self.address)
            msg = f"a packet of {length} bytes"
            raise MalformedPacketError(msg)

    def _on_packet(self, first: int, data: bytes, start: int, end: int) -> None:
        """Handle anything but a PUBLISH."""
        kind, session = first >> 4, self.session
        if self.state is State.NEW:
            self.codec, connect = read_connect(first, data, start, end)
            self.state = State.DECIDING
            self._max_length = self._parts.limits.max_packet_bytes
            self._parts.on_connect.handle(self, connect)
            return
        if first & 0x0F != (2 if kind in FLAGS_OF_TWO else 0):
            msg = "reserved flags"
            raise MalformedPacketError(msg)
        if kind in BODILESS:
            if start != end:
                msg = "a body where there is none"
                raise MalformedPacketError(msg)
            if kind == Kind.PINGREQ:
                self._on_ping()
            else:
                self._on_disconnect()
        elif session is None:
            return
        elif kind == Kind.SUBSCRIBE:
            self._do(self._parts.on_subscribe.subscribe(self, session, data, start, end))
        elif kind == Kind.UNSUBSCRIBE:
            self._do(self._parts.on_subscribe.unsubscribe(self, session, data, start, end))
        else:
            self._parts.on_acknowledge.handle(self, session, kind, data, start, end)

    def _do(self, job: Generator[int]) -> None:
        """Do what a packet asks for; what of it takes long goes on in the next turns, and until then nothing else."""
        if not self._parts.scheduler.work.do(self._own(job)) and self.state is not State.CLOSED:
            self._is_working = True
            self.suspend()

    def _own(self, job: Generator[int]) -> Iterator[int]:
        """Do a job for as long as this connection is there; then go on handling."""
        try:
            for cost in job:
                yield cost
                if self.state is State.CLOSED:
                    job.close()
                    return
        except MalformedPacketError as error:
            self._close_malformed(error)
        if self._is_working:
            self._is_working = self.is_suspended = False
            self._wait_if_behind()
            if not self.is_suspended:
                self.proceed()

    def _on_ping(self) -> None:
        """Answer after what was to be sent before, so that a client that waits for the answer has seen it."""
        store = self._parts.store
        if self.session is not None and self.session.unsent and not store.is_failing:
            store.after_commit(lambda _: self.send(PINGRESP))
        else:
            self.send(PINGRESP)

    def _on_publish(
        self,
        session: Session,
        first: int,
        data: bytes,
        topic_bytes: bytes,
        route: Route | None,
        topic_end: int,
        end: int,
    ) -> None:
        """Handle a PUBLISH with a QoS, the retain flag, or both (3.3.1)."""
        qos, packet_id, payload_at = self.codec.read_publish(first, data, topic_end, end)
        topic = route.topic if route is not None else ""
        message = Message(topic, topic_bytes, data[payload_at:end], qos)
        before = self._parts.store.position
        self._publisher.take(self, session, route, message, packet_id, is_retained=bool(first & 0x01))
        if self._parts.store.position != before:
            self._wait_if_behind()

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

    def _wait_if_behind(self) -> None:
        """Take nothing more until the store has committed, if too much waits for it."""
        store = self._parts.store
        if store.is_behind and not self.is_suspended:
            self.suspend()
            store.after_commit(lambda _: self.proceed())

    def _decide_topic(self, principal: Principal, topic_bytes: bytes) -> Route | None:
        """Decide a topic for as long as the scope stays the same; None is a refusal."""
        limits = self._parts.limits
        topic = decode_text(topic_bytes)
        if not topic or "+" in topic or "#" in topic:
            msg = "a topic that is empty or has a wildcard"
            raise MalformedPacketError(msg)
        if len(topic_bytes) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels:
            msg = "a topic over max_topic_bytes or max_topic_levels"
            raise MalformedPacketError(msg)
        is_allowed = principal.allows(Action.PUBLISH, topic)
        if principal.is_revoked:
            return None
        route = self._parts.router.resolve(topic_bytes, topic) if is_allowed else None
        if self._parts.topic_authorizer and self.session is not None:
            # It is asked each time.
            return route if self._parts.topic_authorizer.allow(self.session, Action.PUBLISH, topic) else None
        if len(self._routes) >= MAX_REMEMBERED_TOPICS:
            self._routes.clear()
        self._routes[topic_bytes] = route
        return route

    def _renew(self, route: Route) -> Route:
        """Ask again who receives a topic."""
        topic_bytes = route.topic_bytes
        renewed = self._parts.router.resolve(topic_bytes, route.topic)
        if topic_bytes in self._routes:
            self._routes[topic_bytes] = renewed
        return renewed

    def log_refusal(self, action: str, topic: bytes) -> None:
        """Log the first refusal of a connection; the others would only repeat it."""
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            client_id = self.session.client_id if self.session else ""
            log.info("topic_refused", action=action, client_id=client_id, topic=topic[:256].decode(errors="replace"))
