"""One client's connection: bytes in, packets handled at once, bytes out. No task, no queue, no coroutine a message."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import structlog
from amqtt.events import MQTTEvents

from fleetkey.access import Action
from fleetkey.broker import packets
from fleetkey.broker.packets import MalformedPacketError, UnsupportedProtocolError
from fleetkey.broker.session import Message

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleetkey.access import Principal, TopicScope
    from fleetkey.broker.hub import Hub
    from fleetkey.broker.packets import Connect, Will
    from fleetkey.broker.session import Session

__all__ = ["Connection", "State"]

log = structlog.get_logger(__name__)

PACKETS_PER_TURN = 16
"""Packets of one connection that are handled before the others get a turn."""
MAX_REMEMBERED_TOPICS = 256
"""Decisions on topics that one connection remembers."""
MAX_LENGTH_BYTES = 4
CONNACK_UNACCEPTABLE_PROTOCOL = 1
QOS_0_PUBLISH = 0x30
BODILESS = frozenset({packets.PINGREQ, packets.DISCONNECT})
FLAGS_OF_TWO = frozenset({packets.PUBREL, packets.SUBSCRIBE, packets.UNSUBSCRIBE})


class State(IntEnum):
    """Where a connection is in its life."""

    NEW = 0
    DECIDING = 1
    OPEN = 2
    CLOSED = 3


class Connection:
    """An `asyncio.Protocol`; the WebSocket listener feeds the same class."""

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_deferred_acks",
        "_hears_in",
        "_hears_out",
        "_is_reading",
        "_is_suspended",
        "_max_length",
        "_need",
        "_rest",
        "_scope",
        "_topics",
        "address",
        "connect",
        "hub",
        "is_paused",
        "is_refusal_logged",
        "keep_alive_seconds",
        "last_heard",
        "listener",
        "principal",
        "session",
        "state",
        "transport",
        "will",
    )

    def __init__(self, hub: Hub, listener: str) -> None:
        self.hub = hub
        self.listener = listener
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before any use
        self.state = State.NEW
        self.address = ""
        self.principal: Principal | None = None
        self.session: Session | None = None
        self.connect: Connect | None = None
        self.will: Will | None = None
        self.keep_alive_seconds = 0.0
        self.last_heard = 0.0
        self.is_paused = False
        self.is_refusal_logged = False
        self._hears_in = hub.events.hears_packets_in
        self._hears_out = hub.events.hears_packets_out
        self._max_length = hub.limits.max_connect_bytes
        self._rest = bytearray()
        self._need = 2
        self._backlog = b""
        """Bytes that came and wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
        self._is_suspended = False
        self._deferred_acks = 0
        self._scope: TopicScope | None = None
        self._topics: dict[bytes, str | None] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection in, if there is room for it."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        transport.set_write_buffer_limits(high=self.hub.limits.write_buffer_bytes)
        self.last_heard = self.hub.loop.time()
        if not self.hub.arrived(self):
            self.state = State.CLOSED
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything; the will goes out unless DISCONNECT came (3.1.2-8)."""
        del exc
        was_open = self.state is not State.CLOSED
        self.state = State.CLOSED
        self._rest.clear()
        self._backlog = b""
        self.hub.left(self, reason="connection_lost" if was_open else "")

    def eof_received(self) -> bool:
        """Close when the client closes its side."""
        return False

    def pause_writing(self) -> None:
        """The client doesn't read: nothing more is sent or taken until it does."""
        self.is_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.is_paused = False
        self._update_reading()
        if self.session is not None and self.state is State.OPEN:
            self.hub.delivery.pump(self.session)
        self.call_next_turn(self._continue)

    def data_received(self, data: bytes) -> None:
        """Handle what came, packet by packet."""
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

    def send(self, data: bytes) -> None:
        """Send one packet; a client that doesn't read is not read from, so what waits stays bounded."""
        if self.state is not State.CLOSED:
            self.transport.write(data)
            if self._hears_out:
                self.hub.events.packet(MQTTEvents.PACKET_SENT, data, self.session)

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Go on after the other connections had their turn."""
        self.hub.loop.call_soon(callback, *arguments)

    def suspend(self) -> None:
        """Handle nothing more until `proceed`; what comes in meanwhile is not read."""
        self._is_suspended = True
        self._update_reading()

    def proceed(self) -> None:
        """Go on handling."""
        self._is_suspended = False
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
        self.state = State.CLOSED
        self.hub.left(self, reason=reason)
        if self.transport.get_write_buffer_size():
            self.hub.close_later(self.transport)
        self.transport.close()

    def abort(self, reason: str) -> None:
        """Close at once, without the will and whatever is still to be written."""
        self.will = None
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.hub.left(self, reason=reason)
        self.transport.abort()

    def _update_reading(self) -> None:
        should_read = not self.is_paused and not self._is_suspended and not self._backlog
        if self.state is State.CLOSED or should_read == self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _continue(self) -> None:
        if self.state is State.CLOSED or self._is_suspended or self.is_paused or not self._backlog:
            return
        data, position = self._backlog, self._backlog_at
        self._backlog = b""
        self._handle_all(data, position)
        self._update_reading()

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        try:
            self._split(data, position)
        except MalformedPacketError as error:
            if self.state is State.OPEN:
                log.info("malformed_packet", client_id=self.session and self.session.client_id, error=str(error))
            self.close("malformed")
        except UnsupportedProtocolError:
            self.send(packets.connack(CONNACK_UNACCEPTABLE_PROTOCOL))
            self.close("protocol", is_graceful=True)

    def _split(self, data: bytes, position: int) -> None:  # noqa: PLR0912 - the one hot loop
        """Split bytes into packets (2.2) and handle each, at most `PACKETS_PER_TURN` of them now."""
        size, turns = len(data), PACKETS_PER_TURN
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
            if not turns or self._is_suspended or self.is_paused:
                self._wait_for_turn(data, position)
                return
            turns -= 1
            first = data[position]
            if self._hears_in:
                self.hub.events.packet(MQTTEvents.PACKET_RECEIVED, data[position:end], self.session)
            if 0x30 <= first <= 0x3F and self.session is not None:  # noqa: PLR2004 - PUBLISH with any flags
                self._on_publish(first, data, position, start, end)
            else:
                self._on_packet(first, data, start, end)
            if self.state is State.CLOSED:
                return
            position = end
        else:
            self._need = 2
        if turns < PACKETS_PER_TURN:
            # 3.1.2-24: whole packets keep a connection alive, bytes don't.
            self.last_heard = self.hub.loop.time()
        if position < size:
            self._rest += data[position:] if position else data

    def _wait_for_turn(self, data: bytes, position: int) -> None:
        """Keep the bytes from `position` on until the other connections had their turn, or until `proceed`."""
        self._backlog, self._backlog_at = data, position
        self.last_heard = self.hub.loop.time()
        self._update_reading()
        if not self._is_suspended and not self.is_paused:
            self.call_next_turn(self._continue)

    def _check_announced(self, first: int, length: int) -> None:
        """Refuse a packet by its announced length, before any of it is kept."""
        if self.state is State.NEW and first != packets.CONNECT << 4:
            msg = "the first packet is no CONNECT"
            raise MalformedPacketError(msg)
        if length > self._max_length:
            log.warning("bound_reached", bound="max_packet_bytes or max_connect_bytes", address=self.address)
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
                self.send(packets.PINGRESP_BYTES)
            else:
                self.close("disconnect", is_graceful=True)
            return
        session = self.session
        if session is None:
            return
        if kind == packets.SUBSCRIBE:
            packet_id, pairs = packets.parse_subscribe(
                data, start, end, self.hub.limits.max_subscriptions_per_application
            )
            self.hub.subscribe(self, packet_id, pairs)
        elif kind == packets.UNSUBSCRIBE:
            packet_id, filters = packets.parse_unsubscribe(
                data, start, end, self.hub.limits.max_subscriptions_per_application
            )
            self.hub.unsubscribe(self, packet_id, filters)
        else:
            self._on_acknowledgement(kind, session, packets.packet_id_of(data, start, end))

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

    def _on_publish(self, first: int, data: bytes, position: int, start: int, end: int) -> None:
        if end - start < 2:  # noqa: PLR2004 - the length of the topic
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
            self._topics.clear()
        try:
            topic = self._topics[topic_bytes]
        except KeyError:
            topic = self._decide_topic(principal, topic_bytes)
        if first == QOS_0_PUBLISH:
            if topic is not None and not principal.is_revoked:
                self.hub.forward(self, topic_bytes, topic, data[position:end], topic_end - position)
            else:
                self.log_refusal("publish", topic_bytes)
            return
        self._on_flagged_publish(first, data, topic_bytes, topic, topic_end, end)

    def _on_flagged_publish(
        self, first: int, data: bytes, topic_bytes: bytes, topic: str | None, topic_end: int, end: int
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
        is_allowed = topic is not None and self.principal is not None and not self.principal.is_revoked
        if not is_allowed:
            self.log_refusal("publish", topic_bytes)
        elif not is_again and topic is not None:
            message = Message(topic, topic_bytes, data[topic_end:end], qos)
            if qos == packets.MAX_QOS:
                must_wait = self.hub.take(session, packet_id)
            must_wait |= self.hub.publish(self, message, is_retained=bool(first & 0x01))
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
        if self.hub.store.is_behind and not self._is_suspended:
            self.suspend()
            self.hub.store.after_commit(lambda _: self.proceed())

    def _decide_topic(self, principal: Principal, topic_bytes: bytes) -> str | None:
        """Decide a topic for as long as the scope stays the same; None is a refusal."""
        limits = self.hub.limits
        topic = packets.decode_text(topic_bytes)
        if not topic or "+" in topic or "#" in topic:
            msg = "a topic that is empty or has a wildcard"
            raise MalformedPacketError(msg)
        if len(topic_bytes) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels:
            msg = "a topic over max_topic_bytes or max_topic_levels"
            raise MalformedPacketError(msg)
        decided = topic if principal.allows(Action.PUBLISH, topic) else None
        if principal.is_revoked:
            return None
        if len(self._topics) >= MAX_REMEMBERED_TOPICS:
            self._topics.clear()
        self._topics[topic_bytes] = decided
        return decided

    def log_refusal(self, what: str, topic_bytes: bytes) -> None:
        """Log the first refusal of a connection; the others would only repeat it."""
        if not self.is_refusal_logged:
            self.is_refusal_logged = True
            client_id = self.session.client_id if self.session else ""
            log.info(
                "topic_refused", action=what, client_id=client_id, topic=topic_bytes[:256].decode(errors="replace")
            )


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
