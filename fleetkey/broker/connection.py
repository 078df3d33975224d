"""One client's connection: bytes in, packets handled at once, bytes out. No task, no queue, no coroutine a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from amqtt.events import MQTTEvents

from fleetkey.access import Action
from fleetkey.broker import packets
from fleetkey.broker.packets import MalformedPacketError, UnsupportedProtocolError
from fleetkey.broker.session import Message
from fleetkey.broker.stream import State, Stream, unread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Iterator

    from fleetkey.access import Principal, TopicScope
    from fleetkey.broker.hub import Hub
    from fleetkey.broker.packets import Connect, Will
    from fleetkey.broker.routes import Route
    from fleetkey.broker.session import Session

__all__ = ["Connection"]

log = structlog.get_logger(__name__)

PACKETS_PER_TURN = 16
"""Packets of one connection that are handled before the others get a turn; one that has filters ends the turn."""
MAX_REMEMBERED_TOPICS = 256
"""Decisions on topics that one connection remembers."""
MAX_UNDECIDED_BYTES = 64 * 1024
"""What a client may send behind its CONNECT before that is answered."""
MAX_LENGTH_BYTES = 4
CONNACK_UNACCEPTABLE_PROTOCOL = 1
QOS_0_PUBLISH = 0x30
ONE_LENGTH_BYTE = 129
"""The longest packet whose remaining length is one byte (2.2.3)."""
BODILESS = frozenset({packets.PINGREQ, packets.DISCONNECT})
BEFORE_THE_END = frozenset({State.DECIDING, State.OPEN})
FLAGS_OF_TWO = frozenset({packets.PUBREL, packets.SUBSCRIBE, packets.UNSUBSCRIBE})
WITH_FILTERS = frozenset({packets.SUBSCRIBE << 4 | 2, packets.UNSUBSCRIBE << 4 | 2})


class Connection(Stream):
    """An `asyncio.Protocol`; the WebSocket listener feeds the same class."""

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_deferred_acks",
        "_hears_in",
        "_is_reading",
        "_is_working",
        "_last_route",
        "_max_length",
        "_need",
        "_rest",
        "_routes",
        "_scope",
        "address",
        "connect",
        "is_refusal_logged",
        "is_suspended",
        "keep_alive_seconds",
        "last_heard",
        "listener",
        "principal",
        "will",
    )

    def __init__(self, hub: Hub, listener: str) -> None:
        super().__init__(hub)
        self.listener = listener
        self.address = ""
        self.principal: Principal | None = None
        self.connect: Connect | None = None
        self.will: Will | None = None
        self.keep_alive_seconds = 0.0
        self.last_heard = hub.now
        """When a whole packet came, as exact as `Hub.now` is."""
        self.is_refusal_logged = False
        self._hears_in = hub.events.hears_packets_in
        self._max_length = hub.limits.max_connect_bytes
        self._rest = bytearray()
        self._need = 2
        self._backlog = b""
        """Bytes that came and wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
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
        if not self.hub.arrived(self):
            self.state = State.CLOSED
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything, after what came before is handled."""
        del exc
        if self.state in BEFORE_THE_END and not self.is_gone:
            self._take_rest(unread(self.transport))
        self.lost()

    def lost(self) -> None:
        """Let go of everything; the will goes out unless DISCONNECT came (3.1.2-8).

        What came before is still handled, for at most `LINGER_SECONDS` after CONNECT is answered; the answers go
        nowhere.
        """
        if self.state not in BEFORE_THE_END or not self.is_busy or self.is_gone:
            self.end()
            return
        self._go()
        if self.state is State.OPEN:
            self.hub.call_later(self.end)
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
        reason = "connection_lost" if self.state is not State.CLOSED else ""
        self.state = State.CLOSED
        self._last_route = None
        self._forget()
        self._rest.clear()
        self._backlog = b""
        self.hub.left(self, reason=reason)

    def eof_received(self) -> bool:
        """Close when the client closes its side."""
        return False

    def data_received(self, data: bytes) -> None:
        """Handle what came, packet by packet."""
        route, principal, size = self._last_route, self.principal, len(data)
        start = 2 if size <= ONE_LENGTH_BYTE else 3
        if (
            route is not None
            and data.startswith(route.head, start)
            and data[0] == QOS_0_PUBLISH
            and (data[1] == size - 2 if start == 2 else _is_two_byte_length(data, size - 3))  # noqa: PLR2004
            and size - start <= self._max_length
            and not route.branch.is_over
            and principal is not None
            and not principal.is_revoked
        ):
            # One whole message to where the last one went: what most of a fleet sends most of the time.
            self.last_heard = self.hub.now
            self.hub.forward(self, route, data, start + len(route.head))
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
        self.is_suspended = False
        self._update_reading()
        self._continue()

    def close(self, reason: str, *, is_graceful: bool = False) -> None:
        """Close the connection.

        Args:
            reason: for the log and the plugins.
            is_graceful: after DISCONNECT, or by the operator: no will (3.14.4-3).
        """
        if self.state is State.CLOSED:
            return
        if is_graceful:
            self.will = None
        self._let_go()
        self._last_route = None
        self.state = State.CLOSED
        self.hub.left(self, reason=reason)
        if self.transport.get_write_buffer_size():
            self.hub.call_later(self.transport.abort)
        self.transport.close()

    def abort(self, reason: str) -> None:
        """Close at once, without the will and whatever is still to be written."""
        self.will = self._last_route = None
        self._forget()
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.hub.left(self, reason=reason)
        self.transport.abort()

    def _on_full(self) -> None:
        self._last_route = None
        self._update_reading()

    def _on_room(self) -> None:
        self._update_reading()
        if self.session is not None and self.state is State.OPEN:
            self.hub.delivery.pump(self.session)
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
            self.send(packets.connack(CONNACK_UNACCEPTABLE_PROTOCOL))
            self.close("protocol", is_graceful=True)

    def _close_malformed(self, error: MalformedPacketError) -> None:
        if self.session is not None and isinstance(error, packets.TooManyFiltersError):
            self.hub.log_bound("max_subscriptions_per_application", client_id=self.session.client_id)
        if self.state is State.OPEN:
            log.info("malformed_packet", client_id=self.session and self.session.client_id, error=str(error))
        self.close("malformed")

    def _split(self, data: bytes, position: int) -> None:  # noqa: PLR0912, PLR0915 - the one hot loop
        """Split bytes into packets (2.2) and handle each, at most `PACKETS_PER_TURN` of them now."""
        size, turns, routes = len(data), PACKETS_PER_TURN, self._routes
        last_route: Route | None = None
        self._last_route = None
        while size - position > 1:
            length, start = data[position + 1], position + 2
            if length > 0x7F:  # noqa: PLR2004 - the continuation bit
                length, start = _long_length(data, position)
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
                self.hub.events.packet(MQTTEvents.PACKET_RECEIVED, data[position:end], self.session)
            if 0x30 <= first <= 0x3F and self.session is not None:  # noqa: PLR2004 - PUBLISH with any flags
                if length < 2:  # noqa: PLR2004 - the length of the topic
                    msg = "PUBLISH without a topic"
                    raise MalformedPacketError(msg)
                topic_end = start + 2 + (data[start] << 8 | data[start + 1])
                topic_bytes = data[start + 2 : topic_end]
                principal = self.principal
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
                if first != QOS_0_PUBLISH:
                    self._on_flagged_publish(first, data, topic_bytes, route, topic_end, end)
                elif route is None or principal.is_revoked:
                    self.log_refusal("publish", topic_bytes)
                else:
                    self.hub.forward(self, route, data[position:end], topic_end - position)
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
            self.last_heard = self.hub.now
        if position < size:
            self._rest += data[position:] if position else data
        elif not (self.is_paused or self._hears_in or self.hub.has_plugins):
            self._last_route = last_route

    def _wait_for_turn(self, data: bytes, position: int) -> None:
        """Keep the bytes from `position` on until the other connections had their turn, or until `proceed`."""
        if self.state is State.DECIDING and len(data) - position > MAX_UNDECIDED_BYTES:
            msg = "too much before the answer to CONNECT"
            raise MalformedPacketError(msg)
        self._backlog, self._backlog_at = data, position
        self.last_heard = self.hub.now
        self._update_reading()
        if not self.is_suspended and not self.is_paused:
            self.call_next_turn(self._continue)

    def _check_announced(self, first: int, length: int) -> None:
        """Refuse a packet by its announced length, before any of it is kept."""
        if self.state is State.NEW and first != packets.CONNECT << 4:
            msg = "the first packet is no CONNECT"
            raise MalformedPacketError(msg)
        if length > self._max_length:
            if self.session is not None:
                self.hub.log_bound("max_packet_bytes", client_id=self.session.client_id)
            else:
                self.hub.log_bound("max_connect_bytes", address=self.address)
            msg = f"a packet of {length} bytes"
            raise MalformedPacketError(msg)

    def _on_packet(self, first: int, data: bytes, start: int, end: int) -> None:
        kind = first >> 4
        if self.state is State.NEW:
            self.connect = packets.parse_connect(first, data, start, end)
            self.state = State.DECIDING
            self._max_length = self.hub.limits.max_packet_bytes
            self.hub.admission.decide(self, self.connect)
            return
        if first & 0x0F != (2 if kind in FLAGS_OF_TWO else 0):
            msg = "reserved flags"
            raise MalformedPacketError(msg)
        if kind in BODILESS:
            if start != end:
                msg = "a body where there is none"
                raise MalformedPacketError(msg)
            if kind == packets.PINGREQ:
                self._on_ping()
            else:
                self.close("disconnect", is_graceful=True)
            return
        session = self.session
        if session is None:
            return
        if kind == packets.SUBSCRIBE:
            self._do(self.hub.subscribe(self, data, start, end))
        elif kind == packets.UNSUBSCRIBE:
            self._do(self.hub.unsubscribe(self, data, start, end))
        else:
            self._on_acknowledgement(kind, session, packets.packet_id_of(data, start, end))

    def _do(self, job: Generator[int]) -> None:
        """Do what a packet asks for; what of it takes long goes on in the next turns, and until then nothing else."""
        if not self.hub.work.do(self._own(job)) and self.state is not State.CLOSED:
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
        store = self.hub.store
        if self.session is not None and self.session.unsent and not store.is_failing:
            store.after_commit(lambda _: self.send(packets.PINGRESP_BYTES))
        else:
            self.send(packets.PINGRESP_BYTES)

    def _on_acknowledgement(self, kind: int, session: Session, packet_id: int) -> None:
        delivery = self.hub.delivery
        if kind == packets.PUBACK:
            is_right = delivery.acknowledged(session, packet_id)
        elif kind == packets.PUBREC:
            is_right = delivery.received(session, packet_id)
        elif kind == packets.PUBCOMP:
            is_right = delivery.completed(session, packet_id)
        elif kind == packets.PUBREL:
            must_wait = self.hub.release(session, packet_id)
            self.acknowledge(packets.acknowledgement(packets.PUBCOMP, packet_id), must_wait=must_wait)
            is_right = True
        else:
            # A second CONNECT (3.1.0-2), a packet that only a server sends, or a reserved type (2.2.1).
            is_right = False
        if not is_right:
            msg = f"unexpected packet of type {kind}"
            raise MalformedPacketError(msg)

    def _on_flagged_publish(
        self, first: int, data: bytes, topic_bytes: bytes, route: Route | None, topic_end: int, end: int
    ) -> None:
        """Handle a PUBLISH with a QoS, the retain flag, or both (3.3.1)."""
        qos, packet_id, session = first >> 1 & 3, 0, self.session
        if qos > packets.MAX_QOS or (first & 0x08 and not qos) or session is None:
            msg = "PUBLISH flags that contradict each other"
            raise MalformedPacketError(msg)
        if qos:
            if end - topic_end < 2:  # noqa: PLR2004 - the packet id
                msg = "PUBLISH without its packet id"
                raise MalformedPacketError(msg)
            packet_id = data[topic_end] << 8 | data[topic_end + 1]
            topic_end += 2
            if not packet_id:
                msg = "a packet id of 0"
                raise MalformedPacketError(msg)
        is_again = qos == packets.MAX_QOS and packet_id in session.inbound
        # A message that came before was not acknowledged yet; it is when it is stored.
        must_wait = is_again and not session.is_clean
        if route is None or self.principal is None or self.principal.is_revoked:
            self.log_refusal("publish", topic_bytes)
        elif not is_again:
            message = Message(route.topic, topic_bytes, data[topic_end:end], qos)
            if qos == packets.MAX_QOS:
                must_wait = self.hub.take(session, packet_id)
            must_wait |= self.hub.publish(self, message, route, is_retained=bool(first & 0x01))
            if must_wait:
                self._wait_if_behind()
        if qos:
            # 3.3.5-2: what may not be published is acknowledged and goes nowhere.
            kind = packets.PUBACK if qos == 1 else packets.PUBREC
            self.acknowledge(packets.acknowledgement(kind, packet_id), must_wait=must_wait)

    def acknowledge(self, acknowledgement: bytes, *, must_wait: bool) -> None:
        """Send an acknowledgement, after a commit if something was stored, and never before an older one (4.6.0-2)."""
        if not must_wait and not self._deferred_acks:
            self.send(acknowledgement)
            return
        self._deferred_acks += 1

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            self._deferred_acks -= 1
            if self.state is State.CLOSED:
                return
            if is_stored:
                self.send(acknowledgement)
            else:
                self.close("not_stored")

        self.hub.store.after_commit(committed)
        self._wait_if_behind()

    def _wait_if_behind(self) -> None:
        """Take nothing more until the store has committed, if too much waits for it."""
        if self.hub.store.is_behind and not self.is_suspended:
            self.suspend()
            self.hub.store.after_commit(lambda _: self.proceed())

    def _decide_topic(self, principal: Principal, topic_bytes: bytes) -> Route | None:
        """Decide a topic for as long as the scope stays the same; None is a refusal."""
        limits = self.hub.limits
        topic = packets.decode_text(topic_bytes)
        if not topic or "+" in topic or "#" in topic:
            msg = "a topic that is empty or has a wildcard"
            raise MalformedPacketError(msg)
        if len(topic_bytes) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels:
            msg = "a topic over max_topic_bytes or max_topic_levels"
            raise MalformedPacketError(msg)
        route = self.hub.routes.find(topic_bytes, topic) if principal.allows(Action.PUBLISH, topic) else None
        if principal.is_revoked:
            return None
        if self.hub.topic_plugins and self.session is not None:
            # They are asked each time.
            return route if self.hub.topic_plugins.allow(self.session, Action.PUBLISH, topic) else None
        if len(self._routes) >= MAX_REMEMBERED_TOPICS:
            self._routes.clear()
        self._routes[topic_bytes] = route
        return route

    def renew(self, route: Route) -> list[tuple[Session, int]]:
        """Ask again who receives a topic."""
        topic_bytes = route.topic_bytes
        renewed = self.hub.routes.find(topic_bytes, route.topic)
        if topic_bytes in self._routes:
            self._routes[topic_bytes] = renewed
        return renewed.targets

    def log_refusal(self, what: str, topic_bytes: bytes) -> None:
        """Log the first refusal of a connection; the others would only repeat it."""
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            client_id = self.session.client_id if self.session else ""
            log.info(
                "topic_refused", action=what, client_id=client_id, topic=topic_bytes[:256].decode(errors="replace")
            )


def _is_two_byte_length(data: bytes, length: int) -> bool:
    """Whether a remaining length is this one, and needs the two bytes that it has (2.2.3)."""
    return 0x7F < length < 0x4000 and data[1] == (length & 0x7F | 0x80) and data[2] == length >> 7  # noqa: PLR2004


def _long_length(data: bytes, position: int) -> tuple[int, int]:
    """Decode a remaining length of two to four bytes (2.2.3); a start of -1 says that more bytes are needed."""
    length = 0
    for offset in range(MAX_LENGTH_BYTES):
        index = position + 1 + offset
        if index >= len(data):
            return 0, -1
        length |= (data[index] & 0x7F) << 7 * offset
        if not data[index] & 0x80:
            if not data[index]:
                # What is passed on is passed on as it came, so it has to be spelt in one way only.
                msg = "a remaining length of more bytes than it needs"
                raise MalformedPacketError(msg)
            return length, index + 1
    msg = "a remaining length of more than four bytes"
    raise MalformedPacketError(msg)
