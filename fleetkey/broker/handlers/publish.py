"""Handles PUBLISH, and publishes wills and the host's own messages (MQTT 3.1.1, 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec import Kind, MalformedPacketError, Reason
from fleetkey.broker.codec.values import AT_LEAST_ONCE, EXACTLY_ONCE
from fleetkey.broker.message import Message
from fleetkey.broker.retained import RetainedMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import BrokerObserver
    from fleetkey.broker.retained import RetainedMessages
    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.router import Router
    from fleetkey.broker.session import ClientSink, Session
    from fleetkey.broker.store import BrokerStore

    Forward = Callable[[ClientSink, Route, bytes, int], None]

__all__ = ["PublishHandler"]

PUBACK, PUBREC = int(Kind.PUBACK), int(Kind.PUBREC)


class PublishHandler:
    """Retains and publishes messages. The caller has already authorized the sender."""

    def __init__(
        self,
        limits: Limits,
        router: Router,
        retained: RetainedMessages,
        store: BrokerStore,
        observer: BrokerObserver,
        counters: Counters,
        bounds: BoundLog,
    ) -> None:
        self._limits = limits
        self._router = router
        self._retained = retained
        self._store = store
        self._observer = observer
        self._counters = counters
        self._bounds = bounds
        # Most of a fleet's messages: the connection calls the router directly unless an observer listens.
        self.forward: Forward = self._forward_and_tell if observer.hears_messages else router.forward

    def _forward_and_tell(self, sender: ClientSink, route: Route, packet: bytes, payload_at: int) -> None:
        if sender.session is not None:
            message = Message(route.topic, route.topic_bytes, packet[payload_at:], 0)
            self._observer.published(sender.session.client_id, message)
        self._router.forward(sender, route, packet, payload_at)

    def take(
        self,
        connection: ClientSink,
        session: Session,
        route: Route | None,
        message: Message,
        packet_id: int,
        *,
        is_retained: bool,
    ) -> None:
        """Publish a client's message that has a QoS, the retain flag, or both, and acknowledge it.

        While nothing can be stored, the connection is closed instead if the message would have to be, and nothing
        changes.

        Args:
            connection: the client's connection, which gets the acknowledgement.
            session: its session.
            route: the valid route of its topic; None if the client may not publish there.
            message: the message.
            packet_id: its packet identifier; 0 for QoS 0.
            is_retained: whether it has the retain flag.
        """
        before = self._store.position
        position = 0
        if message.qos == EXACTLY_ONCE and packet_id in session.inbound:
            # A duplicate of a message that isn't released yet; acknowledge it once the first one is stored.
            position = session.inbound[packet_id]
        elif route is not None:
            if self._store.is_failing and self._adds_to_store(message, session, route, is_retained=is_retained):
                connection.close(Reason.NOT_STORED)
                return
            if message.qos == EXACTLY_ONCE:
                self._remember(session, packet_id)
            self.publish(message, session, route, is_retained=is_retained)
            position = self._store.since(before)
            if message.qos == EXACTLY_ONCE:
                session.inbound[packet_id] = position
        if message.qos:
            # 3.3.5-2: an unauthorized message is acknowledged and discarded.
            kind = PUBACK if message.qos == AT_LEAST_ONCE else PUBREC
            connection.acknowledge(connection.codec.acknowledgement(kind, packet_id), position)

    def publish(
        self,
        message: Message,
        session: Session,
        route: Route | None = None,
        *,
        is_retained: bool = False,
    ) -> None:
        """Publish a client's message or will."""
        if self._observer.hears_messages:
            self._observer.published(session.client_id, message)
        if is_retained:
            self.retain(message)
        self._counters.messages_received += 1
        self._router.publish(message, route)

    def retain(self, message: Message) -> None:
        """Retain a message, unless nothing can be stored; an empty one clears the topic (3.3.1-5, 3.3.1-10)."""
        # The broker publishes its own status again after a restart.
        is_stored = not message.topic.startswith("$")
        if not message.payload:
            dropped = self._retained.drop(message.topic)
            # Even if it was already cleared, that may not be committed yet; then this waits for it too.
            if is_stored and (dropped is not None or self._store.committed < self._store.position):
                self._store.drop_retained(message.topic, dropped)
            return
        if is_stored and self._store.is_failing:
            # QoS 0, or nobody's who could be told. The topic keeps its older value.
            self._bounds.reached("store_failing", owner=message.owner)
            return
        kept, older = RetainedMessage(message=message), self._retained.stored(message.topic)
        if not self._retained.keep(kept):
            self._bounds.reached("max_retained", owner=message.owner)
            return
        if is_stored:
            self._store.keep_retained(kept, older)
        self._observer.retained(kept)

    def _adds_to_store(self, message: Message, session: Session, route: Route, *, is_retained: bool) -> bool:
        """Whether a message with a QoS can be acknowledged only once something more is stored."""
        if not message.qos:
            return False
        if is_retained and message.payload and not message.topic.startswith("$"):
            return True
        if message.qos == EXACTLY_ONCE and session.is_kept:
            return True
        return any(receiver.is_kept and options.qos for receiver, options in route.targets)

    def _remember(self, session: Session, packet_id: int) -> None:
        """Remember a QoS 2 message's identifier until it is released (4.3.3)."""
        if len(session.inbound) >= self._limits.max_unreleased:
            self._bounds.reached("max_unreleased", client_id=session.client_id)
            msg = "more QoS 2 messages than max_unreleased"
            raise MalformedPacketError(msg)
        session.inbound[packet_id] = 0
        if session.is_kept:
            self._store.add_inbound(session, packet_id)
