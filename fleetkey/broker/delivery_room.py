"""Room for one more message to a session, in number and in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.broker.encoding import has_expired
from fleetkey.broker.message_charges import charge_delivery, release_delivery
from fleetkey.broker.session import RetainedReplay

if TYPE_CHECKING:
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.message import OutboundMessage
    from fleetkey.broker.session import Session
    from fleetkey.broker.store import BrokerStore
    from fleetkey.registry import SteadyClock

__all__ = ["DeliveryRoom"]

log = structlog.get_logger(__name__)

DROPPED_AT_ONCE = 64
"""Expired messages dropped from a full queue to make room for one more."""


class DeliveryRoom:
    """Charges messages on their way to sessions, and releases them."""

    def __init__(self, limits: Limits, store: BrokerStore, counters: Counters, clock: SteadyClock) -> None:
        self._limits = limits
        self._store = store
        self._counters = counters
        self._clock = clock

    def take(self, session: Session, outgoing: OutboundMessage, *, is_queued: bool) -> bool:
        """Charge a message, to be queued or sent, to the session's owner; False if a bound is reached."""
        is_full = is_queued and self._is_full(session, outgoing.message.size)
        if is_full:
            self._drop_expired(session)
            is_full = self._is_full(session, outgoing.message.size)
        bound = "max_queued" if is_full else charge_delivery(session, outgoing)
        if bound:
            self._dropped(session, bound)
        return not bound

    def _is_full(self, session: Session, size: int) -> bool:
        limits = self._limits
        return (
            session.queued_messages >= limits.max_queued_messages
            or session.queued_bytes + size > limits.max_queued_bytes
        )

    def _drop_expired(self, session: Session) -> None:
        """Drop the messages at the head of a queue that may no longer be delivered, a few at a time."""
        for _ in range(DROPPED_AT_ONCE):
            head = session.queue[0] if session.queue else None
            if head is None or isinstance(head, RetainedReplay) or not has_expired(head.message, self._clock):
                return
            session.queue.popleft()
            session.followers -= not head.qos
            session.queued_messages -= 1
            session.queued_bytes -= head.message.size
            self.forget(session, head)

    def forget(self, session: Session, outgoing: OutboundMessage) -> None:
        """Release a message that was delivered, or may no longer be."""
        release_delivery(session, outgoing)
        if outgoing.row:
            self._store.drop_delivery(outgoing)

    def _dropped(self, session: Session, bound: str) -> None:
        self._counters.bounds[bound] += 1
        if not session.is_drop_logged:
            session.is_drop_logged = True
            log.warning(
                "queue_full",
                client_id=session.client_id,
                bound=bound,
                queued=session.queued_messages,
                bytes=session.queued_bytes,
            )
