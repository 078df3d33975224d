"""While nothing can be stored, what would have to be is refused before anything changes; what removes goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.handlers import SubscribeHandler
from fleetkey.broker.message import OutboundMessage
from tests.support.packets import subscribe as subscribe_packet
from tests.unit.broker.rig import Parts, Sink, connect, message, packets_of, principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleetkey.broker.session import Session

REFUSED = 0x80


class Rig:
    """A persistent session that is away, and clients that publish while the store fails."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.publisher = parts.publisher
        sink, self.away = parts.join("away", "away/#", qos=2)
        sink.close(Reason.CLIENT_DISCONNECTED)
        self.live, _ = parts.join("live", "#", qos=2, clean=True)
        parts.retain("away/kept", b"old")

    def send(
        self, sink: Sink, session: Session, topic: str, *, qos: int = 1, retain: bool = False, **more: Any
    ) -> None:
        """Let a client publish."""
        route = self.parts.router.resolve(topic.encode(), topic)
        sent = message(topic, more.get("payload", b"new"), qos, session.owner)
        self.publisher.take(sink, session, route, sent, 1, is_retained=retain)


@pytest.fixture
async def rig(parts: Parts) -> AsyncIterator[Rig]:
    """Return a rig whose store has just failed to commit something."""
    rig = Rig(parts)
    await parts.settle()
    rig.live.take()
    with parts.failing():
        parts.join("unlucky")
        assert not await parts.commit()
        yield rig
    await parts.settle()


@pytest.mark.parametrize(
    ("topic", "qos", "retain", "is_kept"),
    [
        pytest.param("other", 1, True, False, id="retained_1"),
        pytest.param("other", 2, True, False, id="retained_2"),
        pytest.param("away/kept", 1, True, False, id="retained_again"),
        pytest.param("away/x", 1, False, False, id="queued_1"),
        pytest.param("away/x", 2, False, False, id="queued_2"),
        pytest.param("other", 2, False, True, id="packet_id"),
    ],
)
async def test_publish_refused(rig: Rig, topic: str, qos: int, *, retain: bool, is_kept: bool) -> None:
    """The connection is closed; nothing is noted, retained, queued or sent on."""
    parts = rig.parts
    if is_kept:
        sink, session = rig.parts.open(principal("away"))[0], rig.away
    else:
        sink, session = parts.join("sender", clean=True)
    before = parts.store.position
    queued = rig.away.queued_messages
    rig.send(sink, session, topic, qos=qos, retain=retain)
    assert sink.closed == [Reason.NOT_STORED]
    assert not sink.acknowledged
    # A kept session that is left has a new time of expiry.
    assert parts.store.position == before + is_kept
    assert not session.inbound
    assert rig.away.queued_messages == queued
    assert rig.live.take() == []
    assert {topic: kept.payload for topic, kept in parts.retained.all().items()} == {"away/kept": b"old"}


@pytest.mark.parametrize(
    ("topic", "qos", "retain", "payload"),
    [
        pytest.param("other", 1, False, b"x", id="live_1"),
        pytest.param("other", 2, False, b"x", id="live_2"),
        pytest.param("other", 1, True, b"", id="cleared"),
        pytest.param("$SYS/x", 1, True, b"x", id="never_stored"),
    ],
)
async def test_publish_taken(rig: Rig, topic: str, qos: int, payload: bytes, *, retain: bool) -> None:
    """What needs no storage goes on."""
    sink, session = rig.parts.join("sender", clean=True)
    rig.send(sink, session, topic, qos=qos, retain=retain, payload=payload)
    assert sink.closed == []
    assert len(sink.acknowledged) == 1


async def test_cleared(rig: Rig) -> None:
    """Clearing a topic is noted, and acknowledged once it is stored."""
    sink, session = rig.parts.join("sender", clean=True)
    rig.send(sink, session, "away/kept", qos=0, retain=True, payload=b"")
    assert rig.parts.retained.get("away/kept") is None
    assert rig.parts.store.since(0)


async def test_qos_0_retained(rig: Rig) -> None:
    """It is passed on and not retained; each time counts, and one line says whose it was."""
    sink, session = rig.parts.join("sender", clean=True)
    before = rig.parts.store.position
    with capture_logs() as lines:
        for _ in range(3):
            rig.send(sink, session, "other", qos=0, retain=True)
    assert rig.live.payloads() == [b"new"] * 3
    assert rig.parts.retained.get("other") is None
    assert rig.parts.store.position == before
    assert rig.parts.counters.bounds == {"store_failing": 3}
    assert [(line["bound"], line["owner"]) for line in lines] == [("store_failing", "sender")]


async def test_will(rig: Rig) -> None:
    """What nobody waits for, such as a will, is queued in memory alone."""
    sender, _ = rig.parts.open(principal("sender"))
    before = rig.parts.store.waiting_bytes
    rig.publisher.publish(message("away/will", b"gone", 1, "sender"), sender, rig.away, is_retained=True)
    assert [entry.message.payload for entry in rig.away.queue if isinstance(entry, OutboundMessage)] == [b"gone"]
    assert rig.parts.store.waiting_bytes == before
    assert rig.parts.retained.get("away/will") is None
    sink, _ = rig.parts.open(principal("away"))
    assert [(got.payload, got.qos) for got in sink.take()] == [(b"gone", 1)]


async def test_replayed(rig: Rig) -> None:
    """Retained messages that are sent to a new subscription aren't stored for it."""
    sink, opened = rig.parts.open(principal("away"))
    before = rig.parts.store.waiting_bytes
    rig.parts.delivery.schedule_replay(opened.session, "away/kept", SubscriptionOptions(1))
    rig.parts.delivery.drain(opened.session)
    assert sink.payloads() == [b"old"]
    assert rig.parts.store.waiting_bytes <= before + 1_000


@pytest.mark.parametrize("is_kept", [True, False])
async def test_subscribe(rig: Rig, *, is_kept: bool) -> None:
    """A filter of a session that is kept is refused."""
    parts = rig.parts
    handler = SubscribeHandler(
        parts.limits,
        parts.sessions,
        parts.delivery,
        parts.store,
        parts.observer,
        parts.censor,
        parts.bounds,
        parts.applications,
    )
    sink, opened = parts.open(principal("away" if is_kept else "new"), clean=not is_kept)
    filters, before = dict(opened.session.subscriptions), parts.store.position
    data = subscribe_packet(7, "new/filter", qos=1)
    list(handler.subscribe(sink, opened.session, data, 2, len(data)))
    (packet,) = packets_of([sink.acknowledged[0].packet])
    assert packet.body[-1] == (REFUSED if is_kept else 1)
    assert (opened.session.subscriptions == filters) is is_kept
    assert parts.store.position == before
    assert parts.counters.bounds == ({"store_failing": 1} if is_kept else {})


@pytest.mark.parametrize(
    ("client_id", "clean", "must"),
    [("new", False, True), ("new", True, False), ("away", False, False), ("away", True, True), ("live", False, True)],
)
async def test_must_store(rig: Rig, client_id: str, *, clean: bool, must: bool) -> None:
    """A new persistent session, and the end of one, have to be stored."""
    assert rig.parts.sessions.must_store(connect(clean=clean), client_id) is must


async def test_removals_take_no_more(rig: Rig) -> None:
    """Sessions that end take back what was noted of them: what waits is bounded by what is in the file."""
    parts = rig.parts
    unlucky = parts.sessions.get("unlucky")
    assert unlucky is not None
    for number in range(100):
        parts.sessions.leave(unlucky)
        parts.sessions._come_back(unlucky, unlucky.expiry_seconds)
        sink, session = parts.join("sender", clean=True)
        rig.send(sink, session, "away/kept", qos=0, retain=True, payload=b"")
        if number == 0:
            before = parts.store.waiting_bytes
    assert parts.store.waiting_bytes == before
