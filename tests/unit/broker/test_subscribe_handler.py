"""SUBSCRIBE and UNSUBSCRIBE as jobs: what is granted, and what is left when a client leaves meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Kind, MalformedPacketError, Reason, SubscriptionOptions
from fleetkey.broker.handlers import SubscribeHandler
from tests.support import packets as wire
from tests.unit.broker.rig import Parts, Sink, packets_of, principal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fleetkey.broker.session import Session

FILTERS = [f"r/{number}" for number in range(4)]


class Rig:
    """A handler over parts."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.handler = SubscribeHandler(
            parts.limits,
            parts.sessions,
            parts.delivery,
            parts.store,
            parts.observer,
            parts.censor,
            parts.bounds,
            parts.applications,
        )

    def subscribe(self, sink: Sink, session: Session, *pairs: tuple[str | bytes, int]) -> Generator[int]:
        """Return the job of a SUBSCRIBE."""
        packet = wire.subscribe(7, *pairs)
        start = len(packet) - len(packets_of([packet])[0].body)
        return self.handler.subscribe(sink, session, packet, start, len(packet))

    def unsubscribe(self, sink: Sink, session: Session, *filters: str | bytes) -> Generator[int]:
        """Return the job of an UNSUBSCRIBE."""
        packet = wire.unsubscribe(7, *filters)
        start = len(packet) - len(packets_of([packet])[0].body)
        return self.handler.unsubscribe(sink, session, packet, start, len(packet))


@pytest.fixture
def rig(parts: Parts) -> Rig:
    """Return a handler with the default bounds."""
    return Rig(parts)


def _answered(sink: Sink) -> bool:
    return bool(sink.acknowledged)


def _run_until(job: Generator[int], is_reached: Callable[[], bool]) -> None:
    """Do a job until something is so."""
    while not is_reached():
        next(job)


async def test_subscribe(rig: Rig) -> None:
    """Each filter is granted or refused by itself, in order; the answer waits for what was stored."""
    sink, opened = rig.parts.open(principal("a", "mine/#"))
    assert all(cost > 0 for cost in rig.subscribe(sink, opened.session, ("mine/1", 2), ("yours", 1), ("mine/+", 0)))
    ((packet, position),) = sink.acknowledged
    assert packet == wire.packet(Kind.SUBACK, 0, b"\0\7\2\x80\0")
    assert position == rig.parts.store.position > 0
    assert opened.session.subscriptions == {"mine/1": SubscriptionOptions(2), "mine/+": SubscriptionOptions(0)}
    assert rig.parts.observer.told == [("subscribed", "mine/1"), ("subscribed", "mine/+")]
    assert sink.refused == [("subscribe", b"yours")]


@pytest.mark.parametrize(
    "topic_filter", [pytest.param(topic_filter, id=repr(topic_filter)) for topic_filter in ("", "a/#/b", "a+", "a#")]
)
@pytest.mark.parametrize("handle", [Rig.subscribe, Rig.unsubscribe])
async def test_ill_formed_filter(rig: Rig, handle: Callable[..., Generator[int]], topic_filter: str) -> None:
    """Nothing is done for a packet of which any filter is ill-formed."""
    sink, session = rig.parts.join("a", "kept")
    filters = ["kept", topic_filter]
    with pytest.raises(MalformedPacketError):
        list(handle(rig, sink, session, *((name, 1) if handle is Rig.subscribe else name for name in filters)))
    assert session.subscriptions == {"kept": SubscriptionOptions(0)}
    assert not sink.acknowledged


@pytest.mark.parametrize(("is_device", "most"), [(True, 2), (False, 3)])
async def test_subscription_bounds(new_parts: Callable[..., Parts], most: int, *, is_device: bool) -> None:
    """Further filters are refused and counted; one that is there already may be replaced."""
    rig = Rig(new_parts(max_subscriptions_per_device=2, max_subscriptions_per_application=3))
    sink, opened = rig.parts.open(principal("0" * 24, is_device=is_device))
    for number in range(5):
        list(rig.subscribe(sink, opened.session, (f"f{number}", 0)))
    list(rig.subscribe(sink, opened.session, ("f0", 1)))
    assert [packet[-1] for packet, _ in sink.acknowledged] == [0] * most + [0x80] * (5 - most) + [1]
    assert rig.parts.counters.bounds == {"max_subscriptions": 5 - most}


async def test_unsubscribe(rig: Rig) -> None:
    """Each is taken away if it is there; the answer comes either way."""
    sink, session = rig.parts.join("a", "x", "y")
    list(rig.unsubscribe(sink, session, "x", "never"))
    assert [packet for packet, _ in sink.acknowledged] == [wire.packet(Kind.UNSUBACK, 0, b"\0\7")]
    assert session.subscriptions == {"y": SubscriptionOptions(0)}


@pytest.mark.parametrize("is_answered", [True, False])
async def test_subscribe_left_meanwhile(rig: Rig, *, is_answered: bool) -> None:
    """A session whose client left is sent the retained messages of all that was granted when it comes back."""
    parts = rig.parts
    for topic in FILTERS:
        parts.retain(topic, qos=1)
    sink, opened = parts.open(principal("a"))
    job = rig.subscribe(sink, opened.session, *((topic, 1) for topic in FILTERS))
    _run_until(job, lambda: _answered(sink) if is_answered else len(opened.session.subscriptions) == 2)
    sink.close(Reason.CONNECTION_LOST)
    job.close()
    granted = list(opened.session.subscriptions)
    assert len(granted) == (4 if is_answered else 2)
    again, _ = parts.open(principal("a"))
    assert {sent.topic for sent in sink.take() + again.take()} == set(granted)


async def test_subscribe_taken_over_meanwhile(rig: Rig) -> None:
    """The connection that took the session over is sent the rest, and nothing waits behind it."""
    parts = rig.parts
    for topic in FILTERS:
        parts.retain(topic)
    first, opened = parts.open(principal("a"))
    job = rig.subscribe(first, opened.session, *((topic, 0) for topic in FILTERS))
    _run_until(job, lambda: _answered(first))
    second, _ = parts.open(principal("a"))
    job.close()
    assert len(first.take()) + len(second.take()) == len(FILTERS)
    assert not opened.session.queue
    parts.sessions.subscribe(opened.session, "x", SubscriptionOptions(1))
    parts.publish("x", b"live", 1)
    assert second.payloads() == [b"live"]


async def test_subscribe_undone_meanwhile(rig: Rig) -> None:
    """What was taken away again by then is sent to nobody."""
    parts = rig.parts
    for topic in FILTERS:
        parts.retain(topic)
    first, opened = parts.open(principal("a"))
    job = rig.subscribe(first, opened.session, *((topic, 0) for topic in FILTERS))
    _run_until(job, lambda: _answered(first))
    second, _ = parts.open(principal("a"))
    list(rig.unsubscribe(second, opened.session, *FILTERS))
    job.close()
    assert second.take() == []
    assert not opened.session.replays


@pytest.mark.parametrize("qos", [0, 1])
async def test_subscribe_published_meanwhile(rig: Rig, *, qos: int) -> None:
    """What is published while a packet is still being handled comes behind the older retained message."""
    parts = rig.parts
    for topic in FILTERS:
        parts.retain(topic, b"old", qos=1)
    sink, opened = parts.open(principal("a"))
    job = rig.subscribe(sink, opened.session, *((topic, 1) for topic in FILTERS))
    for number, topic in enumerate(FILTERS):
        while len(opened.session.subscriptions) == number:
            next(job)
        parts.publish(topic, b"new", qos=qos)
    parts.publish(FILTERS[0], b"last", qos=qos)
    list(job)
    assert [(sent.topic, sent.payload) for sent in sink.take()] == [
        *((topic, payload) for topic in FILTERS for payload in (b"old", b"new")),
        (FILTERS[0], b"last"),
    ]


@pytest.mark.parametrize("qos", [0, 1])
async def test_subscribe_retained_meanwhile(rig: Rig, *, qos: int) -> None:
    """What is retained meanwhile comes once: as a live message, or as a retained one if it wasn't granted yet."""
    parts = rig.parts
    for topic in FILTERS[:2]:
        parts.retain(topic, b"old", qos=qos)
    sink, opened = parts.open(principal("a"))
    job = rig.subscribe(sink, opened.session, *((topic, 1) for topic in FILTERS[:2]))
    _run_until(job, lambda: len(opened.session.subscriptions) == 1)
    for topic in FILTERS[:2]:
        parts.publish(topic, b"between", qos=qos)
        parts.retain(topic, b"new", qos=qos)
    list(job)
    assert [(sent.topic, sent.payload, sent.retain) for sent in sink.take()] == [
        (FILTERS[0], b"between", False),
        (FILTERS[0], b"new", False),
        (FILTERS[1], b"new", True),
    ]


async def test_subscribe_dropped_meanwhile(rig: Rig) -> None:
    """A session that is gone is left alone."""
    parts = rig.parts
    for topic in FILTERS:
        parts.retain(topic)
    sink, opened = parts.open(principal("a"), clean=True)
    job = rig.subscribe(sink, opened.session, *((topic, 0) for topic in FILTERS))
    _run_until(job, lambda: _answered(sink))
    sink.close(Reason.CONNECTION_LOST)
    job.close()
    parts.loop.settle()
    assert opened.session.is_over
    assert not opened.session.queue
    assert parts.trie._root.is_empty


async def test_unsubscribe_again_while_store_fails(rig: Rig) -> None:
    """The first UNSUBSCRIBE was not answered; nor is the next, before the store has forgotten the subscription."""
    sink, session = rig.parts.join("a", "x")
    await rig.parts.settle()
    with rig.parts.failing():
        for _ in range(2):
            list(rig.unsubscribe(sink, session, "x"))
            assert not await rig.parts.commit()
        assert all(position > rig.parts.store.committed for _, position in sink.acknowledged)
    await rig.parts.settle()
    list(rig.unsubscribe(sink, session, "x"))
    assert all(position <= rig.parts.store.committed for _, position in sink.acknowledged)


async def test_clean_session_while_store_fails(rig: Rig) -> None:
    """What isn't stored waits for nothing."""
    sink, session = rig.parts.join("a", clean=True)
    rig.parts.join("other", "x")
    with rig.parts.failing():
        job = rig.subscribe(sink, session, ("x", 1))
        _run_until(job, lambda: bool(session.subscriptions))
        rig.parts.join("another", "y")
        list(job)
        for _ in range(2):
            list(rig.unsubscribe(sink, session, "x"))
    assert [position for _, position in sink.acknowledged] == [0, 0, 0]
