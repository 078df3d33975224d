"""Delivers messages to a session: at once, from its queue, or again after a reconnect; authorized when sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import Action
from fleetkey.broker.codec import Kind
from fleetkey.broker.codec.values import AT_LEAST_ONCE, EXACTLY_ONCE
from fleetkey.broker.delivery_room import DeliveryRoom
from fleetkey.broker.encoding import TOO_LONG, encode_outgoing, has_expired
from fleetkey.broker.message import Message, OutboundMessage
from fleetkey.broker.message_charges import charge_delivery_anyway, release_delivery
from fleetkey.broker.replay_queue import add_replay, remove_replay
from fleetkey.broker.session import RetainedReplay
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import TopicAuthorizer
    from fleetkey.broker.retained import RetainedMessages
    from fleetkey.broker.session import ClientSink, Session
    from fleetkey.broker.store import BrokerStore

__all__ = ["Delivery"]

log = structlog.get_logger(__name__)

RECEIVE, PUBREL = Action.RECEIVE, int(Kind.PUBREL)
"""By themselves: looking up an enum's member takes longer than comparing with it."""
SENDS_PER_TURN = 64
"""Messages sent from one session's queue before others get a turn."""
BYTES_PER_SEND = 4 * 1024
"""Bytes of a message that count as one more message: a long one takes longer to encrypt and to send."""
UNITS_PER_SEND = 4
"""Units of work for sending a message (`broker.work`)."""
LEVELS_PER_SEND = 4
"""Topic levels searched for retained messages at the cost of sending one message."""


class Delivery:
    """Sends and queues QoS 1 and 2 messages, and retained ones, within the bounds of a session."""

    def __init__(
        self,
        limits: Limits,
        store: BrokerStore,
        retained: RetainedMessages,
        topic_authorizer: TopicAuthorizer,
        counters: Counters,
        clock: SteadyClock | None = None,
    ) -> None:
        self._clock = clock or SteadyClock()
        self._counters = counters
        self._room = DeliveryRoom(limits, store, counters, self._clock)
        self._topic_authorizer = topic_authorizer
        self._must_ask = bool(topic_authorizer)
        self._limits = limits
        self._store = store
        self._retained = retained

    def offer(
        self,
        session: Session,
        message: Message,
        qos: int,
        *,
        is_retained: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> None:
        """Send or queue a QoS 1 or 2 message; the store's position tells whether it was noted there.

        While nothing can be stored, it is kept in memory alone: nobody waits for an acknowledgement of it then.
        """
        if session.is_over:
            return
        connection = session.connection
        can_send = (
            connection is not None
            and not session.queue
            and not session.resending
            and not connection.is_paused
            and len(session.inflight) < connection.max_inflight
        )
        outgoing = OutboundMessage(message, qos, is_retained=is_retained, identifiers=identifiers)
        if not self._room.take(session, outgoing, is_queued=not can_send):
            return
        if can_send:
            self._send(session, outgoing, is_new=True)
            return
        if session.is_kept:
            self._add_to_store(session, outgoing)
        self.enqueue(session, outgoing)

    def _add_to_store(self, session: Session, outgoing: OutboundMessage) -> None:
        if self._store.is_failing:
            self._store.unstored += 1
        else:
            self._store.add_delivery(session, outgoing)

    def hold(self, message: Message) -> None:
        """Keep a message stored between its deliveries, which are made in several turns, until `let_go`."""
        self._store.hold(message)

    def let_go(self, message: Message) -> None:
        """End what `hold` began."""
        self._store.let_go(message)

    def enqueue(self, session: Session, outgoing: OutboundMessage) -> None:
        """Put a message at the end of a session's queue."""
        session.append(outgoing)
        session.queued_messages += 1
        session.queued_bytes += outgoing.message.size

    def must_follow(self, session: Session, topic: str) -> bool:
        """Whether a QoS 0 message would overtake an older one of its topic (4.6.0-6).

        The older one is a retained message still to be sent, or is queued behind one.
        """
        return session.followers > 0 or (bool(session.replays) and self._retained.get(topic) is not None)

    def follow(
        self,
        session: Session,
        message: Message,
        *,
        is_retained: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> None:
        """Queue a QoS 0 message that must wait."""
        outgoing = OutboundMessage(message, 0, is_retained=is_retained, identifiers=identifiers)
        if self._room.take(session, outgoing, is_queued=True):
            session.followers += 1
            self.enqueue(session, outgoing)

    def schedule_replay(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> int:
        """Queue the retained messages of a new subscription (3.3.1-6); `drain` sends them.

        If the client subscribes again while they wait, they are sent once, not twice.

        Returns:
            the units of work done (`broker.work`); 0 if there are no retained messages.
        """
        if not self._retained.may_match(topic_filter):
            return 0
        # Twice in one packet: the same as in two packets (3.8.4-4).
        cost = self.drain(session) if topic_filter in session.replays else 0
        return cost + add_replay(session, topic_filter, options, self._retained.newest)

    def cancel_replay(self, session: Session, topic_filter: str) -> int:
        """Cancel the retained messages of a removed subscription; return the units of work done."""
        cost = remove_replay(session, topic_filter)
        return cost + self.drain(session) if cost else 0

    def resume(self, session: Session) -> None:
        """Resend unacknowledged messages in order, then drain the queue (4.4.0-1, 4.6.0-1)."""
        connection = session.connection
        if connection is None:
            return
        unsent = set(session.unsent)
        session.resending = deque(outgoing for outgoing in session.inflight.values() if outgoing not in unsent)
        self.drain(session)

    def drain(self, session: Session) -> int:
        """Send queued messages, as far as the in-flight window, the connection's buffer and this turn allow.

        Returns:
            the units of work done (`broker.work`), at least 1.
        """
        connection = session.connection
        if connection is None or session.is_drain_due or connection.is_deciding:
            # Nothing may precede the CONNACK; `resume` sends it later.
            return 1
        turns, inflight, max_inflight = SENDS_PER_TURN, session.inflight, connection.max_inflight
        while not connection.is_paused:
            queue, resending, unsent = session.queue, session.resending, session.unsent
            is_committed = bool(unsent) and not unsent[0].must_wait
            if not (queue or resending or is_committed):
                session.tidy()
                break
            if turns <= 0:
                session.is_drain_due = True
                connection.call_next_turn(self._drain_again, session)
                break
            if resending:
                if len(inflight) - len(resending) >= connection.max_inflight:
                    # It takes fewer at a time than on its earlier connection.
                    break
                turns -= self._send_again(session, connection, resending.popleft())
                continue
            if is_committed:
                turns -= self._send_committed(session, connection, unsent.popleft())
                continue
            head = queue[0]
            if isinstance(head, RetainedReplay):
                taken = self._replay(session, connection, head, turns)
                if not taken:
                    break
                turns -= taken
                continue
            if (len(inflight) >= max_inflight) if head.qos else unsent:
                break
            message = head.message
            turns -= 1 + message.size // BYTES_PER_SEND
            queue.popleft()
            session.followers -= not head.qos
            session.queued_messages -= 1
            session.queued_bytes -= message.size
            if self._may_have(session, message.topic) and not has_expired(message, self._clock):
                self._send(session, head)
            else:
                self._room.forget(session, head)
        return 1 + (SENDS_PER_TURN - turns) * UNITS_PER_SEND

    def _drain_again(self, session: Session) -> None:
        session.is_drain_due = False
        self.drain(session)

    def _replay(self, session: Session, connection: ClientSink, replay: RetainedReplay, turns: int) -> int:
        """Send retained messages for up to `turns`; return how many it used, or 0 if it has to wait."""
        if replay.matches is None:
            replay.matches = self._retained.walk(replay.topic_filter)
        levels, steps = turns * LEVELS_PER_SEND, 0
        while steps < levels:
            if connection.is_paused or (replay.options.qos and len(session.inflight) >= connection.max_inflight):
                return 0
            try:
                kept = next(replay.matches)
            except StopIteration:
                if session.unsent:
                    # Later messages must not overtake the last of these.
                    return 0
                session.queue.popleft()
                if replay.again is not None:
                    session.replays[replay.topic_filter] = replay.again
                    return steps // LEVELS_PER_SEND + 1
                del session.replays[replay.topic_filter]
                if session.is_kept:
                    self._store.drop_replay(session, replay.topic_filter, replay.options)
                return steps // LEVELS_PER_SEND + 1
            steps += 1
            if (
                kept is None
                or not replay.oldest < kept.number <= replay.newest
                or not self._may_have(session, kept.topic)
            ):
                continue
            outgoing = OutboundMessage(
                kept.message,
                min(replay.options.qos, kept.qos),
                is_retained=True,
                identifiers=replay.options.identifiers,
            )
            steps += LEVELS_PER_SEND * _sends(outgoing)
            if outgoing.qos and not self._room.take(session, outgoing, is_queued=False):
                continue
            self._send(session, outgoing, is_new=True)
        return turns

    def acknowledged(self, session: Session, packet_id: int) -> bool:
        """Handle a PUBACK; False if the message isn't QoS 1."""
        outgoing = session.inflight.get(packet_id)
        if outgoing is None:
            return True
        if outgoing.qos != AT_LEAST_ONCE:
            return False
        self._complete(session, outgoing)
        return True

    def _complete(self, session: Session, outgoing: OutboundMessage) -> None:
        """End a handshake, and send what waits for its place."""
        del session.inflight[outgoing.packet_id]
        self._room.forget(session, outgoing)
        if session.queue or session.resending:
            self.drain(session)

    def received(self, session: Session, packet_id: int, *, is_refused: bool = False) -> bool:
        """Handle a PUBREC and release the message; False if the message isn't QoS 2.

        If the client refused it, that ends the handshake (MQTT 5.0, 4.3.3).
        """
        outgoing = session.inflight.get(packet_id)
        connection = session.connection
        if outgoing is not None and outgoing.qos != EXACTLY_ONCE:
            return False
        if is_refused:
            if outgoing is not None and not outgoing.is_released:
                self._complete(session, outgoing)
            return True
        if outgoing is not None and outgoing.is_sent and not outgoing.is_released:
            outgoing.is_released = True
            if outgoing.row:
                self._store.mark_released(session, outgoing)
            # The payload is no longer needed.
            release_delivery(session, outgoing)
            outgoing.message = Message(outgoing.message.topic, outgoing.message.topic_bytes, b"", outgoing.qos)
            charge_delivery_anyway(session, outgoing)
        if connection is not None:
            # 4.3.3: a PUBREC with an unknown id is answered too, so that the client can finish. A stored message is
            # released in the store first: it must not be delivered again after a power cut.
            position = self._store.position if outgoing is not None and outgoing.row else 0
            connection.acknowledge(connection.codec.acknowledgement(PUBREL, packet_id), position)
        return True

    def completed(self, session: Session, packet_id: int) -> bool:
        """Handle a PUBCOMP; False if the message was never released."""
        outgoing = session.inflight.get(packet_id)
        if outgoing is None:
            return True
        if not outgoing.is_released:
            return False
        self._complete(session, outgoing)
        return True

    def _send_again(self, session: Session, connection: ClientSink, outgoing: OutboundMessage) -> int:
        """Resend a message from an earlier connection, unless it was completed in the meantime; return its turns."""
        if session.inflight.get(outgoing.packet_id) is not outgoing:
            return 1
        if outgoing.is_released:
            connection.send(connection.codec.acknowledgement(PUBREL, outgoing.packet_id))
            return 1
        return self._transmit_if_allowed(session, connection, outgoing)

    def _send(self, session: Session, outgoing: OutboundMessage, *, is_new: bool = False) -> None:
        """Send a message for the first time; `is_new`: it wasn't queued, and so isn't stored yet."""
        connection = session.connection
        if connection is None:
            return
        if not outgoing.qos:
            if packet := encode_outgoing(connection.codec, outgoing, self._clock):
                connection.send(packet)
            else:
                self._counters.bounds[TOO_LONG] += 1
            if not is_new:
                # It was queued.
                release_delivery(session, outgoing)
            return
        outgoing.packet_id = session.next_packet_id()
        session.inflight[outgoing.packet_id] = outgoing
        if is_new and session.is_kept:
            self._add_to_store(session, outgoing)
        elif outgoing.row:
            self._store.mark_sent(session, outgoing)
        if outgoing.row and outgoing.qos == EXACTLY_ONCE:
            outgoing.must_wait = True
            self._store.after_commit(lambda is_stored: self._committed(session, outgoing, is_stored=is_stored))
        if outgoing.must_wait or session.unsent:
            session.postpone(outgoing)
        else:
            self._transmit(session, connection, outgoing)

    def _transmit(self, session: Session, connection: ClientSink, outgoing: OutboundMessage) -> None:
        """Send a message that is in flight; if it is too long for its receiver, that ends its handshake."""
        if packet := encode_outgoing(connection.codec, outgoing, self._clock):
            connection.send(packet)
            outgoing.is_sent = True
        else:
            self._counters.bounds[TOO_LONG] += 1
            del session.inflight[outgoing.packet_id]
            self._room.forget(session, outgoing)

    def _committed(self, session: Session, outgoing: OutboundMessage, *, is_stored: bool) -> None:
        """Send a message whose packet id is committed, and those that waited behind it."""
        if not is_stored:
            if outgoing in session.unsent:
                self._store.after_commit(lambda is_stored: self._committed(session, outgoing, is_stored=is_stored))
            return
        outgoing.must_wait = False
        self.drain(session)

    def _send_committed(self, session: Session, connection: ClientSink, outgoing: OutboundMessage) -> int:
        """Send a message that no longer waits for a commit, unless it was completed; return the turns it took."""
        if session.inflight.get(outgoing.packet_id) is not outgoing:
            return 1
        return self._transmit_if_allowed(session, connection, outgoing)

    def _transmit_if_allowed(self, session: Session, connection: ClientSink, outgoing: OutboundMessage) -> int:
        """Send a message that is in flight, or drop it if its receiver may not have it any more."""
        if self._may_have(session, outgoing.message.topic):
            self._transmit(session, connection, outgoing)
            return _sends(outgoing)
        del session.inflight[outgoing.packet_id]
        self._room.forget(session, outgoing)
        return 1

    def _may_have(self, session: Session, topic: str) -> bool:
        principal = session.principal
        if principal is None or not principal.may_receive(topic):
            return False
        return not self._must_ask or self._topic_authorizer.allow(session, RECEIVE, topic)


def _sends(outgoing: OutboundMessage) -> int:
    """Return as how many messages one counts in a turn."""
    return 1 + outgoing.message.size // BYTES_PER_SEND
