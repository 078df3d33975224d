"""PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 3.1.1, 3.4 to 3.7 and 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec import Kind, ProtocolError
from fleetkey.broker.memory_costs import INBOUND_BYTES, MESSAGES

if TYPE_CHECKING:
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.session import ClientSink, Session
    from fleetkey.broker.store import BrokerStore

__all__ = ["AcknowledgeHandler"]

PUBACK, PUBREC, PUBREL, PUBCOMP = int(Kind.PUBACK), int(Kind.PUBREC), int(Kind.PUBREL), int(Kind.PUBCOMP)
"""Plain integers, which compare faster than enum members."""
ACKNOWLEDGEMENTS = frozenset({PUBACK, PUBREC, PUBREL, PUBCOMP})


class AcknowledgeHandler:
    """Handles the client's side of QoS 1 and 2 handshakes."""

    def __init__(self, delivery: Delivery, store: BrokerStore) -> None:
        self._delivery = delivery
        self._store = store

    def handle(self, connection: ClientSink, session: Session, kind: int, data: bytes, start: int, end: int) -> None:
        """Handle an acknowledgement; any other kind of packet is a protocol violation."""
        if kind not in ACKNOWLEDGEMENTS:
            # A second CONNECT (3.1.0-2), a packet that only servers send, or a reserved type (2.2.1).
            raise _unexpected(kind)
        packet_id, is_success = connection.codec.read_acknowledgement(data, start, end)
        if kind == PUBACK:
            is_right = self._delivery.acknowledged(session, packet_id)
        elif kind == PUBREC:
            is_right = self._delivery.received(session, packet_id, is_refused=not is_success)
        elif kind == PUBCOMP:
            is_right = self._delivery.completed(session, packet_id)
        else:
            self._release(connection, session, packet_id)
            is_right = True
        if not is_right:
            raise _unexpected(kind)

    def _release(self, connection: ClientSink, session: Session, packet_id: int) -> None:
        """Release a QoS 2 message's identifier, and answer once the store has committed that."""
        if session.inbound.pop(packet_id, None) is not None:
            session.memory.release(MESSAGES, INBOUND_BYTES)
            if session.is_kept:
                self._store.drop_inbound(session, packet_id)
        acknowledgement = connection.codec.acknowledgement(PUBCOMP, packet_id)
        # Even if it was already released: its client may have missed the first answer, and it may not be committed yet.
        connection.acknowledge(acknowledgement, self._store.position if session.is_kept else 0)


def _unexpected(kind: int) -> ProtocolError:
    return ProtocolError(f"unexpected packet of type {kind}")
