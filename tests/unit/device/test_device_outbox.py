"""The outbox: bounded, and honest about what became of a message."""

from __future__ import annotations

import threading
import time

import pytest

from fleetkey.device import Message, OutboxFull, PublishRefused
from fleetkey.device.outbox import Outbox


def message(qos: int) -> Message:
    """Return a message."""
    return Message(topic="t", payload=b"secret plan", qos=qos)


def test_put_offline() -> None:
    """Without a connection QoS 0 is lost at once, and the rest waits."""
    outbox = Outbox(10)
    at_most_once, at_least_once = outbox.put(message(0)), outbox.put(message(1))
    assert at_most_once.is_lost
    assert not at_least_once.is_lost
    assert not at_least_once.wait(0)


def test_put_full() -> None:
    """What waits and what is unacknowledged count together, and an acknowledgement makes room."""
    outbox = Outbox(2)
    first = outbox.put(message(1))
    outbox.put(message(1))
    entry = outbox.take()
    assert entry is not None
    outbox.handed_over(7, *entry)
    with pytest.raises(OutboxFull) as caught:
        outbox.put(message(2))
    assert caught.value.limit == 2
    outbox.acknowledged(7)
    assert first.is_delivered
    outbox.put(message(2))


def test_close() -> None:
    """With the connection goes QoS 0, handed over or not; the rest stays in its order."""
    outbox = Outbox(10)
    outbox.open()
    deliveries = [outbox.put(message(qos)) for qos in (0, 1, 0, 2)]
    for packet_id in (1, 2):
        entry = outbox.take()
        assert entry is not None
        outbox.handed_over(packet_id, *entry)
    outbox.close()
    assert [delivery.is_lost for delivery in deliveries] == [True, False, True, False]
    assert outbox.in_flight_count == 1
    outbox.acknowledged(2)
    assert deliveries[1].is_delivered
    waiting = outbox.take()
    assert waiting is not None
    assert waiting[0].qos == 2


def test_finish() -> None:
    """At the end everybody who waits is told, and later ones at once."""
    outbox = Outbox(10)
    delivery = outbox.put(message(1))
    threading.Timer(0.05, outbox.finish).start()
    before = time.monotonic()
    assert not delivery.wait(5)
    assert time.monotonic() - before < 2
    assert delivery.is_lost
    assert outbox.put(message(2)).is_lost


def test_acknowledged_unknown() -> None:
    """An acknowledgement nobody waits for is ignored."""
    Outbox(1).acknowledged(5)


def test_refused() -> None:
    """A refused message is lost, says why, and makes room."""
    outbox = Outbox(1)
    delivery = outbox.put(message(1))
    entry = outbox.take()
    assert entry is not None
    outbox.handed_over(7, *entry)
    assert outbox.topic_of(7) == "t"
    error = PublishRefused("t", 0x87)
    outbox.refused(7, error)
    assert (delivery.is_lost, delivery.is_delivered, delivery.error) == (True, False, error)
    assert outbox.topic_of(7) is None
    outbox.put(message(1))


def test_take_back() -> None:
    """What is unacknowledged at QoS 1 is sent again, first; at QoS 2, where it might arrive twice, it is lost."""
    outbox = Outbox(10)
    deliveries = [outbox.put(message(qos)) for qos in (1, 2, 1, 1)]
    first: list[Message] = []
    for packet_id in (1, 2, 3):
        entry = outbox.take()
        assert entry is not None
        first.append(entry[0])
        outbox.handed_over(packet_id, *entry)
    outbox.take_back()
    assert outbox.in_flight_count == 0
    assert [delivery.is_lost for delivery in deliveries] == [False, True, False, False]
    again = [outbox.take() for _ in range(3)]
    assert [entry[1] for entry in again if entry] == [deliveries[0], deliveries[2], deliveries[3]]


def test_limit_out_of_range() -> None:
    """An outbox of nothing makes no sense."""
    with pytest.raises(ValueError, match="at least one"):
        Outbox(0)


def test_message_repr() -> None:
    """A message doesn't show its payload."""
    assert "plan" not in repr(message(1))
