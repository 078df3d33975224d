"""Fan-out: who is sent a message, in which form, and who isn't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Action
from fleetkey.broker.codec import MQTT_3_1_1, Reason, SubscriptionOptions
from tests.unit.broker.rig import Censor, OtherCodec, Parts, Sink, message, principal, publications_of

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC = "a/b/c"
PACKET = MQTT_3_1_1.publish(TOPIC.encode(), b"live")
PAYLOAD_AT = len(PACKET) - len(b"live")


def _forward(parts: Parts, sender: Sink | None = None) -> None:
    """Forward a message as it came in."""
    route = parts.router.resolve(TOPIC.encode(), TOPIC)
    parts.router.forward(sender or Sink(principal("sender"), parts.loop), route, PACKET, PAYLOAD_AT)


def _publish(parts: Parts) -> None:
    """Publish the same message as a value."""
    parts.publish(TOPIC, b"live")


each_way = pytest.mark.parametrize("send", [_forward, _publish])


@each_way
async def test_fan_out(parts: Parts, send: Callable[[Parts], None]) -> None:
    """Everyone that subscribed is sent it once, and nobody else."""
    first, second = parts.join("first", TOPIC, "a/#")[0], parts.join("second", "+/b/+", qos=2)[0]
    other = parts.join("other", "a/b/d")[0]
    send(parts)
    assert first.sent == second.sent == [PACKET]
    assert other.sent == []
    assert parts.counters.messages_delivered == 2


async def test_forward_packet_as_it_came(parts: Parts) -> None:
    """Receivers of the sender's version are sent the very bytes; the sender is one if it subscribed."""
    sender, receiver = parts.join("sender", TOPIC)[0], parts.join("receiver", TOPIC)[0]
    _forward(parts, sender)
    assert sender.sent[0] is receiver.sent[0] is PACKET
    assert parts.counters.messages_received == 1


@each_way
async def test_receiver_that_is_paused(parts: Parts, send: Callable[[Parts], None]) -> None:
    """A client that doesn't read gets no QoS 0 messages, and none is kept for it."""
    slow, session = parts.join("slow", TOPIC)
    quick = parts.join("quick", TOPIC)[0]
    slow.is_paused = True
    send(parts)
    assert slow.sent == []
    assert not session.queue
    assert quick.sent == [PACKET]


@each_way
async def test_receiver_that_is_away(parts: Parts, send: Callable[[Parts], None]) -> None:
    """Nor does one that is away, by a route that was found while it was there."""
    away, session = parts.join("away", TOPIC)
    parts.router.resolve(TOPIC.encode(), TOPIC)
    away.close(Reason.CONNECTION_LOST)
    send(parts)
    assert away.sent == []
    assert not session.queue


@each_way
async def test_session_that_is_over(parts: Parts, send: Callable[[Parts], None]) -> None:
    """One that was dropped is sent nothing, by whichever route."""
    sink, session = parts.join("gone", TOPIC)
    parts.router.resolve(TOPIC.encode(), TOPIC)
    sink.close(Reason.CONNECTION_LOST)
    parts.sessions.drop(session)
    send(parts)
    parts.publish(TOPIC, qos=1)
    assert sink.sent == []
    assert not session.queue
    assert not session.inflight


async def test_forward_other_version(parts: Parts) -> None:
    """A receiver of another version is sent it as that version writes it."""
    codec = OtherCodec()
    same, other = parts.join("same", TOPIC)[0], parts.join("other", TOPIC, codec=codec.as_codec())[0]
    _forward(parts)
    assert same.sent == [PACKET]
    assert other.payloads() == [codec.MARK + b"live"]


async def test_publish_encodes_once(parts: Parts) -> None:
    """However many receivers a version has, the message is encoded once for it."""
    codec = OtherCodec()
    others = [parts.join(f"other{number}", TOPIC, codec=codec.as_codec())[0] for number in range(5)]
    _publish(parts)
    assert codec.encoded == 1
    assert all(other.sent[0] is others[0].sent[0] for other in others)


@each_way
async def test_topic_authorizer(new_parts: Callable[..., Parts], send: Callable[[Parts], None]) -> None:
    """It is asked about each receiver that is there, each time; what it refuses isn't sent."""
    parts = new_parts(censor=(censor := Censor()))
    here, away = parts.join("here", TOPIC)[0], parts.join("away", TOPIC)[0]
    away.close(Reason.CONNECTION_LOST)
    send(parts)
    assert censor.asked == [("here", Action.RECEIVE, TOPIC)]
    censor.forbidden = {TOPIC}
    send(parts)
    assert len(here.sent) == 1


@pytest.mark.parametrize(("published", "subscribed", "sent"), [(0, 2, 0), (1, 2, 1), (2, 1, 1), (2, 2, 2), (1, 0, 0)])
async def test_publish_qos(parts: Parts, published: int, subscribed: int, sent: int) -> None:
    """The lower of the two (4.3)."""
    sink, session = parts.join("receiver", TOPIC, qos=subscribed)
    parts.publish(TOPIC, qos=published)
    await parts.commit()
    (publication,) = sink.take()
    assert publication.qos == sent
    assert len(session.inflight) == bool(sent)


@each_way
async def test_behind_retained(parts: Parts, send: Callable[[Parts], None]) -> None:
    """A live message doesn't overtake the retained one of its topic that is still to be sent (4.6.0-6)."""
    parts.retain(TOPIC, b"kept")
    sink, opened = parts.open(principal("receiver"))
    session = opened.session
    sink.is_paused = True
    parts.sessions.subscribe(session, TOPIC, SubscriptionOptions(0))
    sink.is_paused = False
    send(parts)
    assert sink.sent == []
    parts.delivery.drain(session)
    assert sink.payloads() == [b"kept", b"live"]
    assert session.followers == 0
    send(parts)
    assert sink.payloads() == [b"live"]


@each_way
async def test_other_topic_passes_retained(parts: Parts, send: Callable[[Parts], None]) -> None:
    """One of a topic that has no retained message doesn't wait for the others'."""
    parts.retain("a/b/kept")
    sink, opened = parts.open(principal("receiver"))
    sink.is_paused = True
    parts.sessions.subscribe(opened.session, "a/b/+", SubscriptionOptions(0))
    sink.is_paused = False
    send(parts)
    assert [publication.payload for publication in publications_of(sink.sent)] == [b"live"]


async def test_scope_of_the_receiver(parts: Parts) -> None:
    """Who subscribed to more than it may receive is sent what it may."""
    sink, opened = parts.open(principal("receiver", "a/b/#"))
    parts.sessions.subscribe(opened.session, "#", SubscriptionOptions(0))
    parts.publish("a/x")
    parts.publish(TOPIC)
    assert [publication.topic for publication in sink.take()] == [TOPIC]


async def test_publish_by_route(parts: Parts) -> None:
    """A route that is known is used."""
    sink, _ = parts.join("receiver", TOPIC)
    route = parts.router.resolve(TOPIC.encode(), TOPIC)
    parts.router.publish(message(TOPIC, b"live"), route)
    assert sink.payloads() == [b"live"]
