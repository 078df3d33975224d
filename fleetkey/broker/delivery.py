"""Getting messages to a session: at once, queued, again after a reconnect; each decided when it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access import Action
from fleetkey.broker.packets import PUBREL, acknowledgement, publish
from fleetkey.broker.session import Message, Outgoing

if TYPE_CHECKING:
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.persistence import BrokerStore
    from fleetkey.broker.session import Session

__all__ = ["Delivery"]

log = structlog.get_logger(__name__)

SENDS_PER_TURN = 64
"""Messages from a queue that one session is sent before others get a turn."""


class Delivery:
    """Sends and queues QoS 1 and 2 messages, and retained ones, within the bounds of a session."""

    def __init__(self, limits: Limits, store: BrokerStore) -> None:
        self._limits = limits
        self._store = store

    def offer(self, session: Session, message: Message, qos: int) -> bool:
        """Take a QoS 1 or 2 message for a session.

        Returns:
            whether it was noted in the store, so that its acknowledgement must wait for a commit.
        """
        connection = session.connection
        can_send = (
            connection is not None
            and not session.queue
            and not connection.is_paused
            and len(session.inflight) < self._limits.max_inflight
        )
        if not can_send and not self._has_room(session, message):
            return False
        outgoing = Outgoing(message, qos)
        if not session.is_clean:
            self._store.add_delivery(session, outgoing)
        if can_send:
            self._send(session, outgoing)
        else:
            self.wait(session, outgoing)
        return not session.is_clean

    def wait(self, session: Session, outgoing: Outgoing) -> None:
        """Put a message at the end of a session's queue."""
        session.queue.append(outgoing)
        topic = outgoing.message.topic
        if outgoing.is_retained:
            session.owed[topic] = session.owed.get(topic, 0) + 1
        else:
            session.queued_messages += 1
            session.queued_bytes += outgoing.message.size

    def follow(self, session: Session, message: Message) -> None:
        """Take a QoS 0 message that must not overtake an older retained one of its topic (4.6.0-6)."""
        if self._has_room(session, message):
            self.wait(session, Outgoing(message, 0))

    def offer_retained(self, session: Session, owed: list[tuple[Message, int]]) -> None:
        """Queue the retained messages that a new subscription is owed, with the QoS of each (3.3.1-6)."""
        for message, qos in owed:
            outgoing = Outgoing(message, qos, is_retained=True)
            if qos and not session.is_clean:
                self._store.add_delivery(session, outgoing)
            self.wait(session, outgoing)
        self.pump(session)

    def resume(self, session: Session) -> None:
        """Send again what was not acknowledged, in order, then what waits (4.4.0-1, 4.6.0-1)."""
        connection = session.connection
        if connection is None:
            return
        for packet_id, outgoing in list(session.inflight.items()):
            if outgoing.is_released:
                connection.send(acknowledgement(PUBREL, packet_id))
            elif self._may_have(session, outgoing.message.topic):
                self._transmit(connection, outgoing)
            else:
                del session.inflight[packet_id]
                self._forget(outgoing)
        self.pump(session)

    def pump(self, session: Session) -> None:
        """Send what waits, as far as the window, the connection's buffer and the other connections' turns allow."""
        connection = session.connection
        if connection is None:
            return
        turns = SENDS_PER_TURN
        while session.queue and not connection.is_paused and turns:
            outgoing = session.queue[0]
            if outgoing.qos and len(session.inflight) >= self._limits.max_inflight:
                return
            turns -= 1
            session.queue.popleft()
            self._uncount(session, outgoing)
            if self._may_have(session, outgoing.message.topic):
                self._send(session, outgoing)
            else:
                self._forget(outgoing)
        if not turns and session.queue:
            connection.call_next_turn(self.pump, session)

    def acknowledged(self, session: Session, packet_id: int) -> bool:
        """Take a PUBACK; False if it answers something else than a QoS 1 message."""
        outgoing = session.inflight.get(packet_id)
        if outgoing is None:
            return True
        if outgoing.qos != 1:
            return False
        del session.inflight[packet_id]
        self._forget(outgoing)
        if session.queue:
            self.pump(session)
        return True

    def received(self, session: Session, packet_id: int) -> bool:
        """Take a PUBREC and release the message; False if it answers something else than a QoS 2 message."""
        outgoing = session.inflight.get(packet_id)
        connection = session.connection
        if outgoing is not None and outgoing.qos != 2:  # noqa: PLR2004 - exactly once
            return False
        if outgoing is not None and not outgoing.is_released:
            outgoing.is_released = True
            # The payload is not needed any more.
            outgoing.message = Message(outgoing.message.topic, outgoing.message.topic_bytes, b"", outgoing.qos)
            if outgoing.row:
                self._store.mark_sent(outgoing)
        if connection is not None:
            # 4.3.3: a PUBREC of an unknown id is answered as well, so that its sender can end. What is stored is
            # released there first: after a power cut the message must not come again.
            must_wait = outgoing is not None and bool(outgoing.row)
            connection.acknowledge(acknowledgement(PUBREL, packet_id), must_wait=must_wait)
        return True

    def completed(self, session: Session, packet_id: int) -> bool:
        """Take a PUBCOMP; False if the message was never released."""
        outgoing = session.inflight.get(packet_id)
        if outgoing is None:
            return True
        if not outgoing.is_released:
            return False
        del session.inflight[packet_id]
        self._forget(outgoing)
        if session.queue:
            self.pump(session)
        return True

    def _send(self, session: Session, outgoing: Outgoing) -> None:
        connection = session.connection
        if connection is None:
            return
        if not outgoing.qos:
            connection.send(self._encode(outgoing, is_duplicate=False))
            return
        outgoing.packet_id = session.next_packet_id()
        session.inflight[outgoing.packet_id] = outgoing
        if outgoing.row:
            self._store.mark_sent(outgoing)
        self._transmit(connection, outgoing)

    def _transmit(self, connection: Connection, outgoing: Outgoing) -> None:
        """Put a message on the wire, as a duplicate if it was there before (3.3.1-1)."""
        connection.send(self._encode(outgoing, is_duplicate=outgoing.is_sent))
        outgoing.is_sent = True

    def _uncount(self, session: Session, outgoing: Outgoing) -> None:
        topic = outgoing.message.topic
        if not outgoing.is_retained:
            session.queued_messages -= 1
            session.queued_bytes -= outgoing.message.size
        elif session.owed.get(topic, 0) > 1:
            session.owed[topic] -= 1
        else:
            session.owed.pop(topic, None)

    def _may_have(self, session: Session, topic: str) -> bool:
        principal = session.principal
        return principal is not None and principal.allows(Action.RECEIVE, topic)

    def _has_room(self, session: Session, message: Message) -> bool:
        has_room = (
            session.queued_messages < self._limits.max_queued_messages
            and session.queued_bytes + message.size <= self._limits.max_queued_bytes
        )
        if not has_room and not session.is_drop_logged:
            session.is_drop_logged = True
            log.warning(
                "queue_full", client_id=session.client_id, queued=session.queued_messages, bytes=session.queued_bytes
            )
        return has_room

    def _forget(self, outgoing: Outgoing) -> None:
        if outgoing.row:
            self._store.drop_delivery(outgoing)

    def _encode(self, outgoing: Outgoing, *, is_duplicate: bool) -> bytes:
        message = outgoing.message
        return publish(
            message.topic_bytes,
            message.payload,
            qos=outgoing.qos,
            packet_id=outgoing.packet_id,
            is_retained=outgoing.is_retained,
            is_duplicate=is_duplicate,
        )
