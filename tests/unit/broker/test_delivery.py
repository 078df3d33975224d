"""Messages on their way to one session: the window, the queue and its bounds, order, and the handshakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.access import Action
from fleetkey.broker.codec import Kind, Reason, SubscriptionOptions
from fleetkey.broker.delivery import BYTES_PER_SEND, LEVELS_PER_SEND, SENDS_PER_TURN
from fleetkey.broker.replay_queue import ENTRIES_PER_UNIT
from fleetkey.broker.retained import RetainedMessage
from tests.unit.broker.rig import Censor, Parts, Sink, message, packets_of, principal

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 3
TOPIC = "x"


def _numbers(sink: Sink) -> list[int]:
    """Return the packet ids of the messages that came since the last time."""
    return [publication.number for publication in sink.take()]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("clean", [True, False])
async def test_window(new_parts: Callable[..., Parts], qos: int, *, clean: bool) -> None:
    """So many are on their way at once; each that ends makes room for the next, in order."""
    parts = new_parts(max_inflight=WINDOW)
    sink, session = parts.join("a", TOPIC, qos=qos, clean=clean)
    for number in range(2 * WINDOW):
        parts.publish(TOPIC, b"%d" % number, qos)
    await parts.commit()
    assert sink.payloads() == [b"0", b"1", b"2"]
    assert len(session.inflight) == session.queued_messages == WINDOW
    for number in range(WINDOW):
        packet_id = number + 1
        if qos == 1:
            assert parts.delivery.acknowledged(session, packet_id)
        else:
            assert parts.delivery.received(session, packet_id)
            assert sink.take() == []
            assert parts.delivery.completed(session, packet_id)
        await parts.commit()
        assert sink.payloads() == [b"%d" % (number + WINDOW)]
    assert session.queued_messages == session.queued_bytes == 0


async def test_window_of_retained(new_parts: Callable[..., Parts]) -> None:
    """Retained messages keep to it as well."""
    parts = new_parts(max_inflight=WINDOW)
    for number in range(2 * WINDOW):
        parts.retain(f"r/{number}", qos=1)
    sink, session = parts.join("a", "r/+", qos=1)
    assert _numbers(sink) == [1, 2, 3]
    for number in range(1, 2 * WINDOW + 1):
        parts.delivery.acknowledged(session, number)
    assert _numbers(sink) == [4, 5, 6]
    assert not session.queue
    assert not session.replays


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        pytest.param({"max_queued_messages": 3}, 3, id="messages"),
        pytest.param({"max_queued_bytes": 25}, 2, id="bytes"),
    ],
)
async def test_queue_bounds(new_parts: Callable[..., Parts], bounds: dict[str, int], kept: int) -> None:
    """What comes over a bound is dropped, counted each time, logged once; none of it is stored."""
    parts = new_parts(**bounds)
    sink, session = parts.join("a", TOPIC, qos=1)
    sink.close(Reason.CONNECTION_LOST)
    with capture_logs() as lines:
        for number in range(10):
            parts.publish(TOPIC, b"%09d" % number, qos=1)
    assert session.queued_messages == kept
    assert parts.counters.bounds["max_queued"] == 10 - kept
    assert [line["event"] for line in lines] == ["queue_full"]
    assert await parts.commit()
    (stored,) = parts.store.load().sessions
    assert len(stored.deliveries) == kept
    sink, _ = parts.open(principal("a"))
    assert sink.payloads() == [b"%09d" % number for number in range(kept)]
    parts.publish(TOPIC, qos=1)
    assert len(sink.take()) == 1


async def test_queue_bounds_of_followers(new_parts: Callable[..., Parts]) -> None:
    """QoS 0 messages that wait behind retained ones count as well."""
    parts = new_parts(max_queued_messages=2)
    parts.retain(TOPIC)
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, TOPIC, SubscriptionOptions(0))
    sink.is_paused = False
    for number in range(5):
        parts.publish(TOPIC, b"%d" % number)
    assert session.followers == session.queued_messages == 2
    parts.delivery.drain(session)
    assert sink.payloads() == [b"kept", b"0", b"1"]
    assert session.followers == session.queued_messages == session.queued_bytes == 0


async def test_paused(parts: Parts) -> None:
    """What comes while a client doesn't read waits, and goes out when it does."""
    sink, session = parts.join("a", TOPIC, qos=1)
    sink.is_paused = True
    for number in range(3):
        parts.publish(TOPIC, b"%d" % number, qos=1)
    assert sink.sent == []
    sink.is_paused, sink.room = False, 2
    parts.delivery.drain(session)
    assert sink.payloads() == [b"0", b"1"]
    sink.is_paused, sink.room = False, 2
    parts.delivery.drain(session)
    assert sink.payloads() == [b"2"]


async def test_drain_in_turns(new_parts: Callable[..., Parts]) -> None:
    """However much waits, the others have their turn after `SENDS_PER_TURN` messages."""
    many = 3 * SENDS_PER_TURN
    parts = new_parts(max_inflight=10_000)
    sink, session = parts.join("a", TOPIC, qos=1)
    sink.close(Reason.CONNECTION_LOST)
    for _ in range(many):
        parts.publish(TOPIC, qos=1)
    sink, _ = parts.open(principal("a"))
    assert len(sink.sent) == SENDS_PER_TURN
    # Whatever asks meanwhile changes nothing.
    parts.delivery.drain(session)
    assert len(sink.sent) == SENDS_PER_TURN
    assert parts.loop.settle() == 2
    assert len(sink.sent) == many


@pytest.mark.parametrize("kind", ["queued", "retained", "sent_again"])
async def test_drain_long_messages(new_parts: Callable[..., Parts], kind: str) -> None:
    """A long message counts as many: however it comes to be sent, a turn sends no more bytes than of short ones."""
    parts, payload = new_parts(max_queued_bytes=10**9), bytes(10 * BYTES_PER_SEND)
    most = SENDS_PER_TURN // 11 + 1
    if kind == "retained":
        for number in range(30):
            parts.retain(f"{TOPIC}/{number}", payload)
        sink, _ = parts.join("a", f"{TOPIC}/#")
    else:
        sink, session = parts.join("a", TOPIC, qos=1)
        if kind == "queued":
            sink.close(Reason.CONNECTION_LOST)
        for _ in range(30):
            parts.publish(TOPIC, payload, qos=1)
        if kind == "sent_again":
            assert len(session.inflight) == 30
            sink.close(Reason.CONNECTION_LOST)
        sink, _ = parts.open(principal("a"))
    sent = len(sink.sent)
    assert sent <= most
    while parts.loop.due:
        parts.loop.turn()
        assert len(sink.sent) - sent <= most
        sent = len(sink.sent)
    assert sent == 30


async def test_drain_in_turns_retained(parts: Parts) -> None:
    """Nor do retained messages that don't match, or may not be seen, hold up the others."""
    for number in range(10 * SENDS_PER_TURN * LEVELS_PER_SEND):
        parts.retain(f"r/{number}/none")
    parts.retain("r/last/one")
    sink, _ = parts.join("a", "r/+/one")
    assert sink.sent == []
    assert parts.loop.settle() >= 10
    assert [publication.topic for publication in sink.take()] == ["r/last/one"]


async def test_resume_order(parts: Parts) -> None:
    """What was sent comes again, as duplicates under the same ids; PUBREL where PUBREC came; then what waits."""
    sink, session = parts.join("a", TOPIC, qos=2)
    for number, qos in enumerate([2, 1, 2]):
        parts.publish(TOPIC, b"%d" % number, qos)
    await parts.commit()
    assert _numbers(sink) == [1, 2, 3]
    parts.delivery.received(session, 1)
    sink.close(Reason.CONNECTION_LOST)
    parts.publish(TOPIC, b"3", 1)
    sink, _ = parts.open(principal("a"))
    first, *others = packets_of(sink.sent)
    assert (first.kind, first.flags, first.body) == (Kind.PUBREL, 2, b"\0\1")
    assert len(others) == 3
    assert [(sent.payload, sent.dup, sent.number) for sent in sink.take()] == [
        (b"1", True, 2),
        (b"2", True, 3),
        (b"3", False, 4),
    ]


async def test_resume_new_messages_wait(new_parts: Callable[..., Parts]) -> None:
    """A message that comes while older ones are sent again doesn't overtake them."""
    parts = new_parts(max_inflight=10)
    sink, _ = parts.join("a", TOPIC, qos=1)
    for number in range(3):
        parts.publish(TOPIC, b"%d" % number, 1)
    sink.close(Reason.CONNECTION_LOST)
    sink = Sink(principal("a"), parts.loop)
    sink.room = 2
    _, opened = parts.open(principal("a"), sink=sink)
    parts.publish(TOPIC, b"3", 1)
    assert sink.payloads() == [b"0", b"1"]
    sink.is_paused, sink.room = False, 10
    parts.delivery.drain(opened.session)
    assert sink.payloads() == [b"2", b"3"]


async def test_resume_may_not_any_more(parts: Parts) -> None:
    """What waited for a client is decided when it is sent, by who it is then; what isn't sent is forgotten."""
    sink, session = parts.join("a", "#", qos=1)
    parts.publish("sent", qos=1)
    sink.close(Reason.CONNECTION_LOST)
    parts.publish("queued", qos=1)
    parts.publish("mine", qos=1)
    sink, _ = parts.open(principal("a", "mine"))
    assert [publication.topic for publication in sink.take()] == ["mine"]
    assert len(session.inflight) == 1
    assert await parts.commit()
    (stored,) = parts.store.load().sessions
    assert [delivery.message.topic for delivery in stored.deliveries] == ["mine"]


async def test_topic_authorizer_at_sending(new_parts: Callable[..., Parts]) -> None:
    """The host is asked about what waited, too."""
    censor = Censor()
    parts = new_parts(censor=censor)
    sink, _ = parts.join("a", "#", qos=1)
    sink.close(Reason.CONNECTION_LOST)
    for topic in ("x", "y"):
        parts.publish(topic, qos=1)
    censor.forbidden = {"x"}
    sink, _ = parts.open(principal("a"))
    assert [publication.topic for publication in sink.take()] == ["y"]
    assert ("a", Action.RECEIVE, "x") in censor.asked


async def test_qos_2(parts: Parts) -> None:
    """Sent when its id is committed, released when PUBREC is, done at PUBCOMP; each step again changes nothing."""
    sink, session = parts.join("a", TOPIC, qos=2)
    parts.publish(TOPIC, b"once", 2)
    assert sink.sent == []
    await parts.commit()
    assert _numbers(sink) == [1]
    for _ in range(2):
        assert parts.delivery.received(session, 1)
        packet, position = sink.acknowledged.pop()
        assert packet == b"\x62\2\0\1"
        # After a power cut the message must not come again.
        assert position == parts.store.position > parts.store.committed
    assert session.inflight[1].message.payload == b""
    for _ in range(2):
        assert parts.delivery.completed(session, 1)
    assert not session.inflight
    await parts.commit()
    assert parts.store.load().sessions[0].deliveries == []


async def test_qos_2_while_store_fails(parts: Parts) -> None:
    """It isn't sent under an id that isn't committed, nor is what comes behind it; then once, in order."""
    sink, session = parts.join("a", TOPIC, qos=2)
    await parts.settle()
    with parts.failing():
        parts.publish(TOPIC, b"twice?", 2)
        parts.publish(TOPIC, b"behind", 1)
        for _ in range(2):
            assert not await parts.commit()
        assert sink.sent == []
        sink.close(Reason.CONNECTION_LOST)
        sink, _ = parts.open(principal("a"))
        assert not await parts.commit()
        assert sink.sent == []
    await parts.settle()
    assert [(sent.payload, sent.dup) for sent in sink.take()] == [(b"twice?", False), (b"behind", False)]
    assert not session.unsent


async def test_clean_session_needs_no_store(parts: Parts) -> None:
    """What isn't stored goes on while the store fails."""
    sink, session = parts.join("a", TOPIC, qos=2, clean=True)
    with parts.failing():
        parts.publish(TOPIC, qos=2)
        assert _numbers(sink) == [1]
        parts.delivery.received(session, 1)
        assert sink.acknowledged[0].position == 0


@pytest.mark.parametrize(
    ("qos", "is_released", "answer", "is_right"),
    [
        pytest.param(1, False, "acknowledged", True, id="puback"),
        pytest.param(1, False, "received", False, id="pubrec_of_qos_1"),
        pytest.param(1, False, "completed", False, id="pubcomp_of_qos_1"),
        pytest.param(2, False, "acknowledged", False, id="puback_of_qos_2"),
        pytest.param(2, False, "received", True, id="pubrec"),
        pytest.param(2, False, "completed", False, id="pubcomp_before_pubrec"),
        pytest.param(2, True, "received", True, id="pubrec_again"),
        pytest.param(2, True, "completed", True, id="pubcomp"),
        pytest.param(2, True, "acknowledged", False, id="puback_after_pubrec"),
    ],
)
async def test_answers(parts: Parts, qos: int, answer: str, *, is_released: bool, is_right: bool) -> None:
    """Each answer that doesn't fit is told apart; it ends nothing."""
    _, session = parts.join("a", TOPIC, qos=qos)
    parts.publish(TOPIC, qos=qos)
    await parts.commit()
    if is_released:
        parts.delivery.received(session, 1)
    assert getattr(parts.delivery, answer)(session, 1) is is_right
    if not is_right:
        assert list(session.inflight) == [1]


@pytest.mark.parametrize("answer", ["acknowledged", "received", "completed"])
async def test_answer_to_unknown_id(parts: Parts, answer: str) -> None:
    """An id that isn't on its way is taken for one that was answered before; PUBREC is answered, so that it ends."""
    sink, session = parts.join("a", TOPIC)
    assert getattr(parts.delivery, answer)(session, 7)
    assert [packet for packet, _ in sink.acknowledged] == ([b"\x62\2\0\7"] if answer == "received" else [])


async def test_packet_ids_wrap_and_skip(parts: Parts) -> None:
    """An id that is still in use isn't used again (2.3.1-4), and 0 never is."""
    sink, session = parts.join("a", TOPIC, qos=1)
    parts.publish(TOPIC, qos=1)
    session.last_packet_id = 65_534
    for _ in range(3):
        parts.publish(TOPIC, qos=1)
    assert _numbers(sink) == [1, 65_535, 2, 3]


async def test_replay(parts: Parts) -> None:
    """A new subscription is sent what is retained, with the lower QoS and the flag."""
    parts.retain("r/0", b"zero", 0)
    parts.retain("r/2", b"two", 2)
    parts.retain("other", b"no", 1)
    sink, _ = parts.join("a", "r/#", qos=1)
    assert [(sent.topic, sent.qos, sent.retain) for sent in sink.take()] == [("r/0", 0, True), ("r/2", 1, True)]


async def test_replay_newer_message_comes_once(parts: Parts) -> None:
    """What is retained after the subscription comes as a live message alone."""
    for number in range(3):
        parts.retain(f"r/{number}")
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, "r/+", SubscriptionOptions(0))
    sink.is_paused = False
    parts.retain("r/1", b"newer")
    parts.delivery.drain(session)
    assert [(sent.topic, sent.payload, sent.retain) for sent in sink.take()] == [
        ("r/0", b"kept", True),
        ("r/2", b"kept", True),
        ("r/1", b"newer", False),
    ]


@pytest.mark.parametrize("qos", [0, 1])
async def test_replay_again_after_newer(parts: Parts, *, qos: int) -> None:
    """Subscribing again while they wait brings what was retained since, ahead of whatever is newer than that."""
    parts.retain("x", b"1", qos)
    sink, session = parts.join("a")
    sink.is_paused = True
    for payload in (b"2", b"4", b"6"):
        parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
        parts.retain("x", payload, qos)
        parts.publish("x", b"%d" % (int(payload) + 1), qos)
    parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
    parts.publish("x", b"8", qos)
    assert len(session.queue) == 2 + 7
    sink.is_paused = False
    parts.delivery.drain(session)
    assert [(sent.payload, sent.retain) for sent in sink.take()] == [
        *((b"%d" % number, False) for number in range(2, 8)),
        (b"6", True),
        (b"8", False),
    ]
    assert not session.queue
    assert not session.replays


async def test_replay_a_third_time(new_parts: Callable[..., Parts]) -> None:
    """Whoever subscribes again while only the newer ones of the second time still wait gets all of them once more."""
    parts = new_parts(max_inflight=1)
    parts.retain("x/a", b"older", 1)
    sink, session = parts.join("a", "x/+", qos=1, clean=True)
    parts.retain("x/b", b"newer", 1)
    sink.take()
    parts.sessions.subscribe(session, "x/+", SubscriptionOptions(1))
    for _ in range(2):
        parts.delivery.acknowledged(session, next(iter(session.inflight)))
    parts.sessions.subscribe(session, "x/+", SubscriptionOptions(1))
    sink.take()
    while session.inflight:
        parts.delivery.acknowledged(session, next(iter(session.inflight)))
    assert sink.payloads() == [b"older", b"newer"]


async def test_cancel_replay_again(parts: Parts) -> None:
    """A subscription that ends leaves nothing of those that wait, however often it was made."""
    parts.retain("x", b"1")
    sink, session = parts.join("a")
    sink.is_paused = True
    for payload in (b"2", b"3"):
        parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
        assert parts.retained.keep(RetainedMessage(message=message("x", payload)))
    parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
    assert len(session.queue) == 2
    parts.sessions.remove_subscription(session, "x")
    assert not session.queue
    assert not session.replays


async def test_replay_again(parts: Parts) -> None:
    """Subscribing again while they wait sends them once, with the newer QoS; however often, one entry waits."""
    parts.retain("r/1", qos=1)
    sink, session = parts.join("a")
    sink.is_paused = True
    for qos in (0, 0, 0, 1):
        parts.sessions.subscribe(session, "r/+", SubscriptionOptions(qos))
    assert len(session.queue) == len(session.replays) == 1
    sink.is_paused = False
    parts.delivery.drain(session)
    assert [sent.qos for sent in sink.take()] == [1]
    parts.sessions.subscribe(session, "r/+", SubscriptionOptions(0))
    assert [sent.qos for sent in sink.take()] == [0]


async def test_replay_of_scope(parts: Parts) -> None:
    """A wide subscription is sent what its principal may have."""
    for topic in ("mine", "yours"):
        parts.retain(topic)
    sink, opened = parts.open(principal("a", "mine"))
    parts.sessions.subscribe(opened.session, "#", SubscriptionOptions(0))
    assert [sent.topic for sent in sink.take()] == ["mine"]


async def test_cancel_replay(parts: Parts) -> None:
    """An ended subscription is sent nothing more, and what waited behind it goes on."""
    parts.retain("r/1")
    sink, session = parts.join("a", TOPIC, qos=1)
    sink.is_paused = True
    parts.sessions.subscribe(session, "r/+", SubscriptionOptions(0))
    parts.publish(TOPIC, b"behind", 1)
    sink.is_paused = False
    parts.sessions.remove_subscription(session, "r/+")
    assert sink.payloads() == [b"behind"]
    assert not session.queue
    assert not session.replays


async def test_cancel_replay_costs_what_it_passes(parts: Parts) -> None:
    """Taking it out of a long queue is charged by the entries before it."""
    _, session = parts.join("a", TOPIC, qos=1)
    connection, session.connection = session.connection, None
    for _ in range(10 * ENTRIES_PER_UNIT):
        parts.delivery.offer(session, message(TOPIC), 1)
    session.connection = connection
    assert connection is not None
    connection.is_paused = True
    parts.retain("r/1")
    parts.sessions.subscribe(session, "r/+", SubscriptionOptions(0))
    assert parts.delivery.cancel_replay(session, "r/+") >= 10
    assert parts.delivery.cancel_replay(session, "r/+") == 0


async def test_resume_when_nothing_is_resent(new_parts: Callable[..., Parts]) -> None:
    """What is committed while older ones are sent again goes out after them, also if a reconnect finds none left."""
    many = SENDS_PER_TURN + 1
    parts = new_parts(max_inflight=2 * many)
    sink, session = parts.join("a", TOPIC, qos=2)
    for _ in range(many):
        parts.publish(TOPIC, b"older", 1)
    parts.publish(TOPIC, b"uncommitted", 2)
    sink.close(Reason.CONNECTION_LOST)
    sink, _ = parts.open(principal("a"))
    assert len(session.resending) == 1
    await parts.settle()
    assert b"uncommitted" not in sink.payloads()
    for packet_id in range(1, many + 1):
        parts.delivery.acknowledged(session, packet_id)
    sink.close(Reason.CONNECTION_LOST)
    sink, _ = parts.open(principal("a"))
    parts.publish(TOPIC, b"newer", 1)
    parts.loop.settle()
    assert sink.payloads() == [b"uncommitted", b"newer"]
