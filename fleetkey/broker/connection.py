"""One client's packets, parsed and handled as they arrive: no task, queue or coroutine per message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.broker.codec import (
    Kind,
    MalformedPacketError,
    PacketTooLargeError,
    UnsupportedProtocolError,
    read_connect,
)
from fleetkey.broker.codec.frame import ONE_BYTE_LENGTH, is_two_byte_length, read_length
from fleetkey.broker.message import Message
from fleetkey.broker.publish_topics import PublishTopics
from fleetkey.broker.transport.outbound import CLOSED, DECIDING, NEW, OPEN
from fleetkey.turns import TRICKLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fleetkey.broker.connection_parts import ConnectionParts
    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.session import Session

__all__ = ["Connection"]

log = structlog.get_logger(__name__)

RECEIVERS_PER_PACKET = 4
"""Receivers of a message that count as one more packet."""
PROPERTY_BYTES_PER_PACKET = 64
"""Bytes of properties that count as one more packet: each is read by itself."""
BYTES_PER_PACKET = 16 * 1024
"""Bytes of a message that count as one more packet."""
MAX_UNDECIDED_BYTES = 64 * 1024
"""How much a client may send after its CONNECT before the CONNACK."""
JOB_BYTES = 6
"""Memory that a packet with filters takes while it is worked on, in bytes per byte of the packet."""
SHORT_JOB_BYTES = 128
"""A packet with filters up to this length is handled at once: it can only have a few."""
QOS_0_PUBLISH, CONNECT = 0x30, int(Kind.CONNECT) << 4
PINGREQ, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT = (
    int(Kind.PINGREQ),
    int(Kind.SUBSCRIBE),
    int(Kind.UNSUBSCRIBE),
    int(Kind.DISCONNECT),
)
"""Plain integers, which compare faster than enum members."""
PINGRESP = bytes((Kind.PINGRESP << 4, 0))
SHORT_PACKET_BYTES = ONE_BYTE_LENGTH + 2
"""The longest packet with a one-byte remaining length (2.2.3)."""
COUNTED_HERE = frozenset(
    {
        "max_subscriptions_per_application",
        "max_properties",
        "max_property_bytes",
        "max_user_properties",
        "max_topic_aliases",
    }
)
"""Bounds on packets that are counted where the packet is refused."""
FLAGS_OF_TWO = frozenset({int(Kind.PUBREL), SUBSCRIBE, UNSUBSCRIBE})
WITH_FILTERS = frozenset({SUBSCRIBE << 4 | 2, UNSUBSCRIBE << 4 | 2})


class Connection(PublishTopics):
    """An `asyncio.Protocol`; the WebSocket listener feeds the same class."""

    __slots__ = (
        "_hears_in",
        "_last_head",
        "_max_length",
        "_may_trickle",
        "_need",
        "_packets",
        "_publisher",
    )

    def __init__(self, parts: ConnectionParts, listener: str, *, is_websocket: bool = False) -> None:
        super().__init__(parts, listener)
        self._may_trickle = is_websocket
        """Whether it may send its CONNECT byte by byte: a WebSocket bounds the number of its frames."""
        self._publisher = parts.on_publish
        self._packets = parts.scheduler.packets
        self._hears_in = parts.observer.hears_packets_in
        self._max_length = parts.limits.max_connect_bytes
        self._need = 2
        """Bytes that `_rest` needs before it is worth parsing."""
        self._last_head = b""
        """How a packet goes on after its length if it may take the fast path of `_last_route`."""

    def data_received(self, data: bytes) -> None:
        """Handle received bytes, packet by packet."""
        route, principal, size = self._last_route, self.principal, len(data)
        start = 2 if size <= SHORT_PACKET_BYTES else 3
        if (
            route is not None
            and data.startswith(self._last_head, start)
            and data[0] == QOS_0_PUBLISH
            and (data[1] == size - 2 if start == 2 else is_two_byte_length(data, size - 3))  # noqa: PLR2004
            and size - start <= self._max_length
            and not route.branch.is_over
            and principal is not None
            and not principal.is_revoked
        ):
            # Fast path: one complete QoS 0 message to the same topic as the last one; most of a fleet's traffic.
            self.last_heard = self._scheduler.now
            self._publisher.forward(self, route, data, start + len(self._last_head))
            return
        if self.state is CLOSED:
            self._discard(size)
            return
        if self._backlog:
            self._backlog += data
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                self._check_room()
                if size > BYTES_PER_PACKET:
                    self._pay_for_reading(size // BYTES_PER_PACKET)
                if self.state is NEW and size < TRICKLE_BYTES and not self._may_trickle:
                    self._rest_from_reading()
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._handle_all(data)
        self._check_room()
        if size > BYTES_PER_PACKET:
            self._pay_for_reading(size // BYTES_PER_PACKET)

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        try:
            self._split(data, position)
        except MalformedPacketError as error:
            self._close_malformed(error, data)
        except UnsupportedProtocolError as error:
            self._parts.on_connect.refuse_version(self, error)

    def _close_malformed(self, error: MalformedPacketError, data: bytes = b"") -> None:
        self._note_malformed(error, data)
        if error.bound in COUNTED_HERE:
            if self.session is not None:
                self._parts.bounds.reached(error.bound, client_id=self.session.client_id)
            else:
                self._parts.bounds.reached_by_stranger(error.bound, self.address)
        if self.state is OPEN:
            log.info("malformed_packet", client_id=self.session and self.session.client_id, error=str(error))
        self.close(error.reason)

    def _split(self, data: bytes, position: int) -> None:  # noqa: PLR0912, PLR0915 - the one hot loop
        """Split bytes into packets (2.2) and handle as many of them now as this turn allows."""
        size, routes, rate, tail = len(data), self._routes, self._rate, self.codec.plain_tail
        owner, packets = self._shared_owner, self._packets
        turns = share = 0 if self.held_back_by else packets.share(owner) if owner else packets.single
        last_route: Route | None = None
        self._last_route = None
        while size - position > 1:
            length, start = data[position + 1], position + 2
            if length > 0x7F:  # noqa: PLR2004 - the continuation bit
                length, start = read_length(data, position)
                if start < 0:
                    self._need = size - position + 1
                    break
            if length > self._max_length or self.state is NEW:
                self._check_announced(data[position], length)
            end = start + length
            if end > size:
                self._need = end - position
                break
            if turns <= 0 or self.is_suspended or self.is_paused:
                self._packets.used(share - turns, self._shared_owner)
                self._wait_for_turn(data, position)
                return
            turns -= 1
            first, last_route = data[position], None
            if self._hears_in:
                self._observer.packet_received(data[position:end], self.session, self.codec.version)
            if 0x30 <= first <= 0x3F and self.session is not None:  # noqa: PLR2004 - PUBLISH with any flags
                if length < 2:  # noqa: PLR2004 - the length of the topic
                    msg = "PUBLISH without a topic"
                    raise MalformedPacketError(msg)
                topic_end = start + 2 + (data[start] << 8 | data[start + 1])
                topic_bytes, unsent = data[start + 2 : topic_end], 0
                principal, session = self.principal, self.session
                if principal is None or topic_end > end:
                    msg = "a topic that extends past the end of its packet"
                    raise MalformedPacketError(msg)
                if self._scope is not principal.scope:
                    self._scope = principal.scope
                    self._forget_topics()
                try:
                    route = routes[topic_bytes]
                except KeyError:
                    if tail and not topic_bytes:
                        topic_bytes = self._topic_of_alias(first, data, topic_end, end)
                        unsent = len(topic_bytes)
                    if topic_bytes in routes:
                        route = routes[topic_bytes]
                    else:
                        route = self._decide_topic(principal, topic_bytes)
                        turns -= self._parts.router.take_cost()
                if principal.is_revoked:
                    route = None
                elif route is not None and route.branch.is_over:
                    route = self._renew(route)
                    turns -= self._parts.router.take_cost()
                if route is None:
                    self.log_refusal("publish", topic_bytes)
                if rate is not None and (seconds := rate.take(self._scheduler.time(), end - position + unsent)) > 0:
                    self._hold_back(rate, seconds)
                    turns = 0
                if first != QOS_0_PUBLISH or not data.startswith(tail, topic_end, end):
                    payload_at = self._on_publish(session, first, data, topic_bytes, route, topic_end, end)
                    turns -= (payload_at - topic_end) // PROPERTY_BYTES_PER_PACKET
                elif route is not None:
                    self._publisher.forward(self, route, data[position:end], topic_end + len(tail) - position)
                    last_route = route
                if end < size and route is not None:
                    turns -= len(route.targets) // RECEIVERS_PER_PACKET + length // BYTES_PER_PACKET
            else:
                self._on_packet(first, data, start, end)
                turns -= length // PROPERTY_BYTES_PER_PACKET
                if first in WITH_FILTERS:
                    turns = 0
                elif first == CONNECT:
                    rate, tail = self._rate, self.codec.plain_tail
                    if self.held_back_by:
                        turns = 0
            if self.state is CLOSED:
                return
            position = end
        else:
            self._need = 2
        if share - turns > 1 or self._shared_owner:
            self._packets.used(share - turns, self._shared_owner)
        if turns < share:
            # 3.1.2-24: only complete packets keep a connection alive.
            self.last_heard = self._scheduler.now
        if position < size:
            if self.state is DECIDING:
                self._wait_for_turn(data, position)
                return
            self._rest += data[position:] if position else data
            if self.state is NEW and size < TRICKLE_BYTES and not self._may_trickle:
                self._rest_from_reading()
        elif (last_route is not None and rate is None and not self._shared_owner) and not (
            self.is_suspended
            or self.is_paused
            or self._hears_in
            or self._observer.hears_messages
            or self._parts.topic_authorizer
        ):
            self._last_route = last_route
            self._last_head = last_route.head + tail if tail else last_route.head

    def _wait_for_turn(self, data: bytes, position: int) -> None:
        """Keep the bytes from `position` on until this connection's next turn, or until `proceed`."""
        if self.state is DECIDING and len(data) - position > MAX_UNDECIDED_BYTES:
            msg = "too many bytes before the CONNACK"
            raise MalformedPacketError(msg, bound="undecided_bytes")
        if self.state is DECIDING and not self._parts.connections.holds(self, "packets", len(data) - position):
            msg = "too many bytes before the CONNACK, with those of other connections"
            raise MalformedPacketError(msg, bound="pending_bytes")
        self._backlog, self._backlog_at = data, position
        self.last_heard = self._scheduler.now
        self._update_reading()
        if not (self.is_suspended or self.is_paused or self.held_back_by):
            self._packets.wait(self.turn_owner, self._continue, len(data) - position)

    def _check_announced(self, first: int, length: int) -> None:
        """Reject a packet by its announced length, before buffering any of it."""
        if self.state is NEW and first != CONNECT:
            msg = "the first packet is not a CONNECT"
            raise MalformedPacketError(msg)
        if length > self._max_length:
            if self.session is not None:
                bound = "max_packet_bytes"
                self._parts.bounds.reached(bound, client_id=self.session.client_id)
            else:
                bound = "max_connect_bytes"
                self._parts.bounds.reached_by_stranger(bound, self.address)
            msg = f"a packet of {length} bytes, which is too long"
            raise PacketTooLargeError(msg, bound=bound)

    def _on_packet(self, first: int, data: bytes, start: int, end: int) -> None:
        """Handle any packet except PUBLISH."""
        kind, session = first >> 4, self.session
        if self.state is NEW:
            self.codec, connect = read_connect(first, data, start, end, self._parts.mqtt_5)
            self.state = DECIDING
            self._max_length = self._parts.limits.max_packet_bytes
            self._parts.on_connect.handle(self, connect)
            return
        if first & 0x0F != (2 if kind in FLAGS_OF_TWO else 0):
            msg = "reserved flags"
            raise MalformedPacketError(msg)
        if kind == PINGREQ:
            if start != end:
                msg = "a body in a packet that has none"
                raise MalformedPacketError(msg)
            self._on_ping()
        elif kind == DISCONNECT:
            self._leave(self.codec.read_disconnect(data, start, end))
        elif session is None:
            return
        elif kind == SUBSCRIBE:
            self._do(self._parts.on_subscribe.subscribe(self, session, data, start, end), end - start)
        elif kind == UNSUBSCRIBE:
            self._do(self._parts.on_subscribe.unsubscribe(self, session, data, start, end), end - start)
        else:
            self._parts.on_acknowledge.handle(self, session, kind, data, start, end)

    def _do(self, job: Generator[int], size: int) -> None:
        """Run the job of a packet of `size` bytes.

        A long job continues over the next turns; until it is done, no other packet of this connection is handled.
        """
        if size <= SHORT_JOB_BYTES:
            for _ in job:
                pass
            return
        if not self._parts.scheduler.work.do(self._own(job), self.turn_owner) and self.state is not CLOSED:
            self.begin_work(JOB_BYTES * size)

    def _own(self, job: Generator[int]) -> Iterator[int]:
        """Run a job until the connection closes; when it is done, resume handling packets."""
        try:
            for cost in job:
                yield cost
                if self.state is CLOSED:
                    job.close()
                    return
        except MalformedPacketError as error:
            self._close_malformed(error)
        self.end_work()

    def _on_ping(self) -> None:
        """Answer once everything already due is sent, so that a client with its PINGRESP has received all of that."""
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
    ) -> int:
        """Handle a PUBLISH with a QoS, the retain flag or properties (3.3.1); return where its payload begins."""
        qos, packet_id, payload_at, properties, expiry, alias = self.codec.read_publish(first, data, topic_end, end)
        if alias:
            self._note_alias(alias, topic_bytes)
        topic, is_retained = route.topic if route is not None else "", bool(first & 0x01)
        message = Message(topic, topic_bytes, data[payload_at:end], qos, session.owner, properties)
        message.is_retained = is_retained
        if expiry is not None:
            most = self._parts.limits.max_message_expiry_seconds
            message.expires_at = self._parts.clock.lasted() + min(expiry, most)
        self._publisher.take(self, session, route, message, packet_id, is_retained=is_retained)
        if not qos:
            # `acknowledge` would have checked this, but QoS 0 has no acknowledgement.
            self._wait_if_behind()
        return payload_at
