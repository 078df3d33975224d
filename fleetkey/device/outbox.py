"""Messages on their way to the broker: bounded, and each with somebody who may wait for it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from fleetkey.device.errors import OutboxFull

__all__ = ["Delivery", "Message", "Outbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One MQTT message, going out or come in.

    Attributes:
        topic: its topic name.
        payload: its bytes; not shown in `repr`.
        qos: 0, 1 or 2.
        retain: going out, whether the broker keeps it; come in, whether it had been kept (MQTT 3.1.1, 3.3.1.3).
    """

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False


class Delivery:
    """What becomes of one published message."""

    def __init__(self) -> None:
        self._settled = threading.Event()
        self._delivered = False

    @property
    def is_delivered(self) -> bool:
        """Whether it is done: acknowledged by the broker, or handed to the network at QoS 0."""
        return self._delivered

    @property
    def is_lost(self) -> bool:
        """Whether it never will be: QoS 0 without a connection, the device stopped, or it got another id."""
        return self._settled.is_set() and not self._delivered

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is delivered or lost, at most so long, and return whether it is delivered."""
        self._settled.wait(timeout_seconds)
        return self._delivered

    def settle(self, *, delivered: bool) -> None:
        """Say how it ended; only the first time counts."""
        if not self._settled.is_set():
            self._delivered = delivered
            self._settled.set()


class Outbox:
    """A bounded queue from any thread to the one that talks to the broker, and the list of what is unacknowledged.

    Args:
        limit: the most messages that may be undelivered at one time, at least 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("an outbox holds at least one message")
        self._limit = limit
        self._lock = threading.Lock()
        self._is_open = False
        self._is_finished = False
        self._waiting: deque[tuple[Message, Delivery]] = deque()
        self._in_flight: dict[int, tuple[Message, Delivery]] = {}

    @property
    def in_flight_count(self) -> int:
        """How many messages are handed over and not acknowledged."""
        return len(self._in_flight)

    def put(self, message: Message) -> Delivery:
        """Queue a message. At QoS 0 without a connection it is lost at once, as at most once allows.

        Raises:
            OutboxFull: when as many as the limit are undelivered.
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
        """Return the next message to hand over, or None."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def handed_over(self, packet_id: int, message: Message, delivery: Delivery) -> None:
        """Remember a message until `acknowledged` is called with its packet id."""
        with self._lock:
            self._in_flight[packet_id] = (message, delivery)

    def acknowledged(self, packet_id: int) -> None:
        """Settle a message as delivered."""
        with self._lock:
            entry = self._in_flight.pop(packet_id, None)
        if entry is not None:
            entry[1].settle(delivered=True)

    def open(self) -> None:
        """Note that there is a connection."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """Note that the connection is gone: QoS 0 is lost with it, the rest waits for the next one."""
        with self._lock:
            self._is_open = False
            lost = [entry for entry in (*self._in_flight.values(), *self._waiting) if entry[0].qos == 0]
            self._in_flight = {packet: entry for packet, entry in self._in_flight.items() if entry[0].qos > 0}
            self._waiting = deque(entry for entry in self._waiting if entry[0].qos > 0)
        _lose(lost)

    def abandon(self) -> None:
        """Lose everything undelivered."""
        with self._lock:
            lost = [*self._in_flight.values(), *self._waiting]
            self._in_flight.clear()
            self._waiting.clear()
        _lose(lost)

    def finish(self) -> None:
        """Lose everything undelivered, and from now on everything at once."""
        with self._lock:
            self._is_finished = True
        self.abandon()


def _lose(entries: list[tuple[Message, Delivery]]) -> None:
    for _, delivery in entries:
        delivery.settle(delivered=False)
