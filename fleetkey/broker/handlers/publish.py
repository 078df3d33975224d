"""Handles PUBLISH, and publishes wills and the host's own messages (MQTT 3.1.1, 3.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fleetkey.broker.codec import Kind, QuotaExceededError, Reason, ReceiveMaximumExceededError
from fleetkey.broker.codec.values import AT_LEAST_ONCE, EXACTLY_ONCE
from fleetkey.broker.memory_costs import INBOUND_BYTES, MESSAGES
from fleetkey.broker.message import Message
from fleetkey.broker.retained import RetainedMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access import Principal
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import BrokerObserver
    from fleetkey.broker.retained import RetainedMessages
    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.router import Router
    from fleetkey.broker.session import ClientSink, Publisher, Session
    from fleetkey.broker.store import BrokerStore

    Forward = Callable[[Publisher, Route, bytes, int], None]

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
        self._unsent: dict[tuple[Session, int], list[Publisher]] = {}
        """QoS 2 messages that are still being sent, with the connections on which a duplicate of one arrived; at most
        one per connection."""
        # Most of a fleet's messages: the connection calls the router directly unless an observer listens.
        self.forward: Forward = self._forward_and_tell if observer.hears_messages else router.forward

    def _forward_and_tell(self, sender: Publisher, route: Route, packet: bytes, payload_at: int) -> None:
        if sender.session is not None:
            message = Message(route.topic, route.topic_bytes, packet[payload_at:], 0)
            self._observer.published(sender.session.client_id, message)
        self._router.forward(sender, route, packet, payload_at)

    def is_full(self, owner: str) -> bool:
        """Whether too many wills wait to be sent."""
        return self._router.is_full(owner)

    def take(
        self,
        connection: Publisher,
        session: Session,
        route: Route | None,
        message: Message,
        packet_id: int,
        *,
        is_retained: bool,
    ) -> None:
        """Publish a client's message that has a QoS, the retain flag, or both, and acknowledge it.

        If it is sent in turns, it is acknowledged after the last one, and the connection handles nothing until then.
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
        is_exactly_once = message.qos == EXACTLY_ONCE
        if is_exactly_once and (session, packet_id) in self._unsent:
            # A duplicate of a message that is still being sent, from the client's next connection.
            self._unsent[session, packet_id].append(connection)
            connection.begin_work()
            return
        if is_exactly_once and packet_id in session.inbound:
            # A duplicate of a message that isn't released yet; acknowledge it once the first one is stored.
            self._acknowledge(connection, message.qos, packet_id, session.inbound[packet_id])
            return
        if route is None:
            # MQTT 3.1.1, 3.3.5-2: an unauthorized message is acknowledged and discarded.
            self._acknowledge(connection, message.qos, packet_id, 0, Reason.NOT_AUTHORIZED)
            return
        if self._store.is_failing and self._adds_to_store(message, session, route, is_retained=is_retained):
            connection.close(Reason.NOT_STORED)
            return
        before, unstored = self._store.position, self._store.unstored
        if not (is_exactly_once or is_retained) and message.size <= route.quick_bytes:
            # Most messages with a QoS.
            self._count(message, session)
            self._router.send_at_once(message, route.targets, session)
            if unstored == self._store.unstored:
                self._acknowledge(connection, message.qos, packet_id, self._store.since(before))
            else:
                connection.close(Reason.NOT_STORED)
            return
        if is_exactly_once:
            self._remember(session, packet_id)
            self._unsent[session, packet_id] = []

        def done(is_sent: bool) -> None:  # noqa: FBT001 - the router's callback
            position = self._store.since(before)
            waiting = [connection]
            if is_exactly_once:
                waiting += self._unsent.pop((session, packet_id))
                if packet_id in session.inbound:
                    session.inbound[packet_id] = position
            # The store may have failed while the message was sent in turns.
            is_stored = is_sent and (not message.qos or unstored == self._store.unstored)
            for each in waiting:
                if is_stored:
                    self._acknowledge(each, message.qos, packet_id, position)
                else:
                    each.close(Reason.NOT_STORED)
            for each in waiting[1:]:
                each.end_work()

        self.publish(message, connection, session, route, is_retained=is_retained, done=done)

    def publish(
        self,
        message: Message,
        connection: Publisher | None,
        session: Session,
        route: Route | None = None,
        *,
        principal: Principal | None = None,
        is_retained: bool = False,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Publish a client's message or will.

        Args:
            message: the message.
            connection: the client's connection, which waits for a message that isn't a will.
            session: its session.
            route: the valid route of the topic, if known.
            principal: whose message it is, if that isn't the connection's.
            is_retained: whether it has the retain flag.
            done: called once it is sent, for which the connection waits; None for a will, for which nobody waits.
        """
        self._count(message, session)
        principal = principal or (connection.principal if connection is not None else None)
        begin = partial(self.retain, message) if is_retained else None
        sender = connection if done is not None else None
        self._router.publish(message, route, sender=sender, origin=session, principal=principal, begin=begin, done=done)

    def _count(self, message: Message, session: Session) -> None:
        if self._observer.hears_messages:
            self._observer.published(session.client_id, message)
        self._counters.messages_received += 1

    def retain(self, message: Message) -> None:
        """Retain a message, unless nothing can be stored; an empty one clears the topic (3.3.1-5, 3.3.1-10)."""
        kept, older = RetainedMessage(message=message), self._retained.stored(message.topic)
        if not message.payload:
            self._retained.drop(message.topic)
            # Even if it was already cleared, that may not be committed yet; then this waits for it too.
            if kept.is_lasting and (older is not None or self._store.committed < self._store.position):
                self._store.drop_retained(message.topic, older)
            return
        if kept.is_lasting and self._store.is_failing:
            # QoS 0, or nobody's who could be told. The topic keeps its older value.
            self._bounds.reached("store_failing", owner=message.owner)
            return
        if not self._retained.keep(kept):
            self._bounds.reached(self._retained.bound_reached(kept), owner=message.owner)
            # An older value must not survive a newer one that was acknowledged.
            self._retained.drop(message.topic)
            if kept.is_lasting and older is not None:
                self._store.drop_retained(message.topic, older)
            return
        if kept.is_lasting:
            self._store.keep_retained(kept, older)
        self._observer.retained(kept)

    def _acknowledge(
        self, connection: ClientSink, qos: int, packet_id: int, position: int, reason: Reason | None = None
    ) -> None:
        """Acknowledge a message once the store has committed up to a position; one of QoS 0 has no answer.

        A `reason` says why it is refused, if the client's version can be told.
        """
        if qos:
            kind = PUBACK if qos == AT_LEAST_ONCE else PUBREC
            connection.acknowledge(connection.codec.acknowledgement(kind, packet_id, reason), position)

    def _adds_to_store(self, message: Message, session: Session, route: Route, *, is_retained: bool) -> bool:
        """Whether a message with a QoS can be acknowledged only once something more is stored."""
        if not message.qos:
            return False
        if is_retained and message.payload and not message.topic.startswith("$"):
            return True
        if message.qos == EXACTLY_ONCE and session.is_kept:
            return True
        return not route.is_found or any(receiver.is_kept and options.qos for receiver, options in route.targets)

    def _remember(self, session: Session, packet_id: int) -> None:
        """Remember a QoS 2 message's identifier until it is released (4.3.3)."""
        if len(session.inbound) >= self._limits.max_unreleased:
            self._bounds.reached("max_unreleased", client_id=session.client_id)
            msg = "more QoS 2 messages than max_unreleased"
            raise ReceiveMaximumExceededError(msg, bound="max_unreleased")
        if not session.memory.charge(MESSAGES, INBOUND_BYTES):
            bound = session.memory.bound_reached(INBOUND_BYTES)
            self._bounds.reached(bound, client_id=session.client_id)
            msg = "a QoS 2 message while there is no room for its identifier"
            raise QuotaExceededError(msg, bound=bound)
        session.inbound[packet_id] = 0
        if session.is_kept:
            self._store.add_inbound(session, packet_id)
