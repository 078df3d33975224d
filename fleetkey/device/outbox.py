"""Messages on their way to the broker: a bounded queue, with deliveries to wait for."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.device.errors import OutboxFull

if TYPE_CHECKING:
    from fleetkey.device.errors import PublishRefused

__all__ = ["Delivery", "Message", "Outbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An outgoing or received MQTT message.

    Attributes:
        topic: its topic name.
        payload: its bytes; not shown in `repr`.
        qos: 0, 1 or 2.
        retain: outgoing: whether the broker should retain it; received: whether it was retained (MQTT 3.1.1, 3.3.1.3).
    """

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False


class Delivery:
    """The delivery of a published message."""

    def __init__(self) -> None:
        self._settled = threading.Event()
        self._delivered = False
        self._error: PublishRefused | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether it is delivered: acknowledged by the broker or, at QoS 0, passed to the network."""
        return self._delivered

    @property
    def is_lost(self) -> bool:
        """Whether it is lost: refused, QoS 0 without a connection, the device stopped, or it got another id."""
        return self._settled.is_set() and not self._delivered

    @property
    def error(self) -> PublishRefused | None:
        """Why the broker refused it, or None if it didn't. MQTT 3.1.1 can't say, nor can any version at QoS 0."""
        return self._error

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is delivered or lost, or the timeout; return whether it is delivered."""
        self._settled.wait(timeout_seconds)
        return self._delivered

    def settle(self, *, delivered: bool, error: PublishRefused | None = None) -> None:
        """Set the outcome; only the first call counts."""
        if not self._settled.is_set():
            self._delivered, self._error = delivered, error
            self._settled.set()


class Outbox:
    """A bounded queue from any thread to the connection's thread, and the messages that are unacknowledged.

    Args:
        limit: the maximum number of undelivered messages, at least 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("an outbox must hold at least one message")
        self._limit = limit
        self._lock = threading.Lock()
        self._is_open = False
        self._is_finished = False
        self._waiting: deque[tuple[Message, Delivery]] = deque()
        self._in_flight: dict[int, tuple[Message, Delivery]] = {}

    @property
    def in_flight_count(self) -> int:
        """How many messages have been sent and not acknowledged."""
        return len(self._in_flight)

    def put(self, message: Message) -> Delivery:
        """Queue a message. At QoS 0 (at most once), it is lost at once if there is no connection.

        Raises:
            OutboxFull: the limit of undelivered messages is reached.
        """
        delivery = Delivery()
        with self._lock:
            if self._is_finished or (message.qos == 0 and not self._is_open):
                delivery.settle(delivered=False)
            elif len(self._waiting) + len(self._in_flight) >= self._limit:
                raise OutboxFull(self._limit)
            else:
                self._waiting.append((message, delivery))
        return delivery

    def take(self) -> tuple[Message, Delivery] | None:
        """Return the next message to send, or None."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def handed_over(self, packet_id: int, message: Message, delivery: Delivery) -> None:
        """Keep a message until `acknowledged` is called with its packet id."""
        with self._lock:
            self._in_flight[packet_id] = (message, delivery)

    def acknowledged(self, packet_id: int) -> None:
        """Mark a message as delivered."""
        with self._lock:
            entry = self._in_flight.pop(packet_id, None)
        if entry is not None:
            entry[1].settle(delivered=True)

    def refused(self, packet_id: int, error: PublishRefused) -> None:
        """Mark a message as refused."""
        with self._lock:
            entry = self._in_flight.pop(packet_id, None)
        if entry is not None:
            entry[1].settle(delivered=False, error=error)

    def topic_of(self, packet_id: int) -> str | None:
        """Return the topic of a message that is unacknowledged; None if there is none."""
        with self._lock:
            entry = self._in_flight.get(packet_id)
        return None if entry is None else entry[0].topic

    def take_back(self) -> None:
        """Queue what is unacknowledged again, first, for a connection that doesn't know of it.

        A message of QoS 2 is lost instead, because it might arrive twice.
        """
        with self._lock:
            entries = self._in_flight.values()
            self._waiting.extendleft(reversed([entry for entry in entries if entry[0].qos == 1]))
            lost = [entry for entry in entries if entry[0].qos != 1]
            self._in_flight = {}
        _lose(lost)

    def open(self) -> None:
        """Record that there is a connection."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """Record that the connection ended: QoS 0 messages are lost, the others wait for the next connection."""
        with self._lock:
            self._is_open = False
            lost = [entry for entry in (*self._in_flight.values(), *self._waiting) if entry[0].qos == 0]
            self._in_flight = {packet: entry for packet, entry in self._in_flight.items() if entry[0].qos > 0}
            self._waiting = deque(entry for entry in self._waiting if entry[0].qos > 0)
        _lose(lost)

    def abandon(self) -> None:
        """Mark everything undelivered as lost."""
        with self._lock:
            lost = [*self._in_flight.values(), *self._waiting]
            self._in_flight.clear()
            self._waiting.clear()
        _lose(lost)

    def finish(self) -> None:
        """Mark everything undelivered as lost, and every later message at once."""
        with self._lock:
            self._is_finished = True
        self.abandon()


def _lose(entries: list[tuple[Message, Delivery]]) -> None:
    for _, delivery in entries:
        delivery.settle(delivered=False)
