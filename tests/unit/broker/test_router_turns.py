"""Fan-out in turns: how much a turn does, in which order, and who is still sent what after something changed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Action, TopicScope
from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.delivery import BYTES_PER_SEND, UNITS_PER_SEND
from fleetkey.broker.retained import RetainedMessage
from fleetkey.broker.route_cache import SENDS_AT_ONCE
from fleetkey.broker.work import WORK_PER_TURN
from tests.unit.broker.rig import Censor, Parts, Sink, message, principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.route_cache import Route
    from fleetkey.broker.session import Session

TOPIC = "a/b/c"
MANY = 3 * WORK_PER_TURN // UNITS_PER_SEND
DEEP = "/".join("a" * 12)
"""A topic whose receivers take long to find, once `_widen` was called."""


def _fill(parts: Parts, count: int = MANY, *, qos: int = 0, topic: str = TOPIC) -> list[tuple[Sink, Session]]:
    """Let many clients subscribe, in the order in which they are sent a message."""
    return [parts.join(f"c{number}", topic, qos=qos, clean=True) for number in range(count)]


def _widen(parts: Parts) -> None:
    """Subscribe to each filter that matches `DEEP`."""
    _, session = parts.join("wide")
    for levels in itertools.product("a+", repeat=12):
        parts.trie.add("/".join(levels), session, SubscriptionOptions(0))


def _send(
    parts: Parts,
    sink: Sink,
    payload: bytes = b"x",
    route: Route | None = None,
    *,
    qos: int = 0,
    topic: str = TOPIC,
    retain: bool = False,
) -> list[bool]:
    """Publish for a client; what is returned is filled when it is sent."""
    ended: list[bool] = []
    published = message(topic, payload, qos)

    def begin() -> None:
        parts.retained.keep(RetainedMessage(message=published))

    parts.router.publish(
        published,
        route,
        sender=sink,
        principal=sink.principal,
        begin=begin if retain else None,
        done=ended.append,
    )
    return ended


def _sender(parts: Parts, name: str = "sender") -> Sink:
    return parts.join(name)[0]


def _payloads(clients: list[tuple[Sink, Session]]) -> set[tuple[bytes, ...]]:
    """Return in which ways clients were sent messages since the last time."""
    return {tuple(sink.payloads()) for sink, _ in clients}


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("payload", [b"x", bytes(10 * BYTES_PER_SEND)], ids=["short", "long"])
async def test_many_receivers(parts: Parts, qos: int, payload: bytes) -> None:
    """A turn sends so many, by their number and bytes; its publisher waits for the last, and is told once."""
    clients, sink = _fill(parts, qos=qos), _sender(parts)
    ended = _send(parts, sink, payload, qos=qos)
    most = WORK_PER_TURN // (UNITS_PER_SEND * (1 + len(payload) // BYTES_PER_SEND)) + 2
    while not ended:
        assert sink.is_working
        before = sum(len(client.sent) for client, _ in clients)
        parts.loop.turn()
        assert sum(len(client.sent) for client, _ in clients) - before <= most
    assert ended == [True]
    assert not sink.is_working
    assert _payloads(clients) == {(payload,)}
    assert parts.counters.messages_delivered == MANY


async def test_forward_to_many(parts: Parts) -> None:
    """A QoS 0 message is forwarded in turns as well, as the packet that came in."""
    clients, sink = _fill(parts), _sender(parts)
    packet = sink.codec.publish(TOPIC.encode(), b"live")
    route = parts.router.resolve(TOPIC.encode(), TOPIC)
    parts.router.forward(sink, route, packet, len(packet) - 4)
    assert sink.is_working
    parts.loop.settle()
    assert not sink.is_working
    assert all(client.sent[0] is packet for client, _ in clients)
    assert parts.counters.messages_received == 1


async def test_few_receivers(parts: Parts) -> None:
    """To few, it is sent at once, and leaves nothing for later turns."""
    clients, sink = _fill(parts, SENDS_AT_ONCE), _sender(parts)
    parts.loop.settle()
    assert _send(parts, sink) == [True]
    assert not parts.loop.due
    assert _payloads(clients) == {(b"x",)}


async def test_topic_that_takes_long(parts: Parts) -> None:
    """Receivers that take long to find are found in turns; the next message finds them at once."""
    clients = _fill(parts, 3, topic=DEEP)
    _widen(parts)
    sink = _sender(parts)
    ended = _send(parts, sink, topic=DEEP)
    turns = 0
    while not ended:
        assert sink.is_working
        parts.loop.turn()
        turns += 1
    assert turns >= 2**12 // WORK_PER_TURN
    assert _payloads(clients) == {(b"x",)}
    assert _send(parts, sink, topic=DEEP) == [True]


@pytest.mark.parametrize("qos", [0, 1])
async def test_order_across_publishers(parts: Parts, qos: int) -> None:
    """Each receiver is sent what was accepted first, first, however short the next; the retained one is the last."""
    clients = _fill(parts, qos=qos)
    senders = [_sender(parts, f"sender {number}") for number in range(4)]
    ended = [_send(parts, sink, b"%d" % number, qos=qos, retain=True) for number, sink in enumerate(senders)]
    other = parts.join("other", "else")[0]
    parts.publish("else", b"passes")
    assert other.payloads() == [b"passes"]
    assert all(sink.is_working for sink in senders)
    while not all(ended):
        parts.loop.turn()
        done = [bool(each) for each in ended]
        assert done == sorted(done, reverse=True)
    assert _payloads(clients) == {(b"0", b"1", b"2", b"3")}
    kept = parts.retained.get(TOPIC)
    assert kept is not None
    assert kept.payload == b"3"
    parts.loop.settle()
    small = parts.join("small", "x/y")[0]
    parts.publish("x/y")
    assert len(small.take()) == 1


@pytest.mark.parametrize("when", ["known", "to_be_found", "changed_meanwhile", "turn_is_used_up"])
async def test_short_behind_long(parts: Parts, when: str) -> None:
    """A short message to few receivers waits for a long one of its topic, and is sent at once again afterwards."""
    topic = DEEP if when == "to_be_found" else TOPIC
    if topic == DEEP:
        _widen(parts)
    clients, sink, other = _fill(parts, 8, topic=topic), _sender(parts), _sender(parts, "other")
    route = parts.router.resolve(topic.encode(), topic)
    parts.loop.settle()
    if when == "turn_is_used_up":
        parts.work.do(iter([WORK_PER_TURN]))
    long = bytes(100 * BYTES_PER_SEND)
    ended = _send(parts, sink, long, topic=topic)
    waiting: list[list[bool]] = []
    while not (ended or waiting):
        if when == "changed_meanwhile":
            parts.join("late", topic)
        if when == "turn_is_used_up" or any(client.sent for client, _ in clients):
            # As a connection does that has sent there before.
            waiting = [_send(parts, other, b"x", None if route.branch.is_over else route, topic=topic)]
        else:
            parts.loop.turn()
    assert waiting == [[]]
    parts.loop.settle()
    assert waiting == [[True]]
    assert _payloads(clients) == {(long, b"x")}
    route = parts.router.resolve(topic.encode(), topic)
    if topic == TOPIC:
        assert route.quick_bytes > 0
    assert _send(parts, sink, topic=topic) == [True]
    assert _payloads(clients) == {(b"x",)}


async def test_publisher_that_leaves(parts: Parts) -> None:
    """What was accepted goes to everyone."""
    clients, sink = _fill(parts), _sender(parts)
    _send(parts, sink)
    sink.close(Reason.CONNECTION_LOST)
    parts.loop.settle()
    assert _payloads(clients) == {(b"x",)}


async def test_publisher_that_is_revoked_while_it_waits(parts: Parts) -> None:
    """What it sent isn't retained and goes nowhere, unless its sending had begun."""
    clients = _fill(parts)
    first, second = _sender(parts, "first"), _sender(parts, "second")
    _send(parts, first, b"first")
    ended = _send(parts, second, b"second", retain=True)
    for sink in (first, second):
        assert sink.principal is not None
        sink.principal.is_revoked = True
    parts.loop.settle()
    assert ended == [True]
    assert parts.retained.get(TOPIC) is None
    assert _payloads(clients) == {(b"first",)}


def _drop(parts: Parts, _sink: Sink, session: Session) -> None:
    parts.sessions.drop(session)


def _unsubscribe(parts: Parts, _sink: Sink, session: Session) -> None:
    parts.sessions.remove_subscription(session, TOPIC)


def _rescope(parts: Parts, sink: Sink, _session: Session) -> None:
    assert sink.principal is not None
    sink.principal.scope = TopicScope(publish=(), subscribe=("other",))
    parts.routes.all_changed()


def _revoke(parts: Parts, sink: Sink, _session: Session) -> None:
    assert sink.principal is not None
    sink.principal.is_revoked = True
    parts.routes.all_changed()


def _leave(_parts: Parts, sink: Sink, _session: Session) -> None:
    sink.close(Reason.CONNECTION_LOST)


def _pause(_parts: Parts, sink: Sink, _session: Session) -> None:
    sink.is_paused = True


def _take_over(parts: Parts, sink: Sink, session: Session) -> None:
    parts.open(principal(session.client_id, "other"), client_id=session.client_id, clean=True)
    assert sink.closed


@pytest.mark.parametrize("change", [_drop, _unsubscribe, _rescope, _revoke, _leave, _pause, _take_over])
@pytest.mark.parametrize("topic", [TOPIC, DEEP], ids=["known", "to_be_found"])
async def test_receiver_that_changes(
    parts: Parts, change: Callable[[Parts, Sink, Session], None], topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may no longer have it, or isn't there, isn't sent it; everyone else is."""
    monkeypatch.setattr(f"{__name__}.TOPIC", topic)
    if topic == DEEP:
        _widen(parts)
    clients, sink = _fill(parts, topic=topic), _sender(parts)
    ended = _send(parts, sink, topic=topic)
    changed, others = clients[-1], clients[:-1]
    parts.loop.turn()
    assert not ended
    change(parts, *changed)
    parts.loop.settle()
    assert ended == [True]
    assert changed[0].sent == []
    assert _payloads(others) == {(b"x",)}


async def test_host_that_forbids_meanwhile(new_parts: Callable[..., Parts]) -> None:
    """The host is asked about each receiver in the turn in which it is sent."""
    parts = new_parts(censor=(censor := Censor()))
    clients, sink = _fill(parts), _sender(parts)
    _send(parts, sink)
    while not any(client.sent for client, _ in clients):
        parts.loop.turn()
    before = sum(len(client.sent) for client, _ in clients)
    censor.forbidden = {TOPIC}
    parts.loop.settle()
    assert sum(len(client.sent) for client, _ in clients) == before < MANY
    assert [action for _, action, _ in censor.asked].count(Action.RECEIVE) == MANY


@pytest.mark.parametrize("topic", [TOPIC, DEEP], ids=["known", "to_be_found"])
async def test_one_of_two_subscriptions_removed(parts: Parts, topic: str) -> None:
    """Who has another subscription that matches is sent it, with the QoS of that one."""
    if topic == DEEP:
        _widen(parts)
    clients, sink = _fill(parts, qos=1, topic=topic), _sender(parts)
    changed, session = clients[-1]
    parts.sessions.subscribe(session, topic.replace("a", "+", 1), SubscriptionOptions(0))
    _send(parts, sink, qos=1, topic=topic)
    parts.loop.turn()
    parts.sessions.remove_subscription(session, topic)
    parts.loop.settle()
    assert [publication.qos for publication in changed.take()] == [0]
    assert _payloads(clients[:-1]) == {(b"x",)}


@pytest.mark.parametrize("topic", [TOPIC, DEEP], ids=["known", "to_be_found"])
@pytest.mark.parametrize("retain", [False, True])
async def test_subscribed_meanwhile(parts: Parts, topic: str, *, retain: bool) -> None:
    """Who subscribes once a message is being sent has it once if it is retained, and else not; then every one."""
    if topic == DEEP:
        _widen(parts)
    _fill(parts, topic=topic)
    sink = _sender(parts)
    ended = _send(parts, sink, b"first", topic=topic, retain=retain)
    parts.loop.turn()
    assert not ended
    late, session = parts.join("late", topic)
    again, other = parts.join("again", topic.replace("a", "+", 1))
    parts.sessions.remove_subscription(other, topic.replace("a", "+", 1))
    parts.sessions.subscribe(other, topic, SubscriptionOptions(0))
    _send(parts, _sender(parts, "second"), b"second", topic=topic, retain=retain)
    parts.loop.settle()
    assert late.payloads() == ([b"first", b"second"] if retain else [b"second"])
    assert again.payloads() == ([b"first", b"first", b"second"] if retain else [b"second"])
    assert session.followers == 0


async def test_subscribed_while_it_waits(parts: Parts) -> None:
    """Who subscribes before a message's turn comes has it live, as it isn't retained before that."""
    _fill(parts)
    _send(parts, _sender(parts), b"first")
    _send(parts, _sender(parts, "second"), b"second", retain=True)
    late, _ = parts.join("late", TOPIC)
    parts.loop.settle()
    assert [(sent.payload, sent.retain) for sent in late.take()] == [(b"second", False)]


async def test_client_that_changes_without_end(parts: Parts) -> None:
    """A client that subscribes and unsubscribes in each turn doesn't keep another's message waiting."""
    _widen(parts)
    clients = _fill(parts, topic=DEEP)
    _, session = parts.join("busy", DEEP)
    ended, turns = _send(parts, _sender(parts), topic=DEEP), 0
    while not ended:
        parts.sessions.remove_subscription(session, DEEP)
        parts.sessions.subscribe(session, DEEP, SubscriptionOptions(0))
        parts.loop.turn()
        turns += 1
        assert turns <= 4 * (2**13 + 10 * MANY) // WORK_PER_TURN
    assert _payloads(clients) == {(b"x",)}


async def test_receiver_with_many_filters(parts: Parts) -> None:
    """A receiver that changed is looked at in steps, however many filters it has."""
    clients, sink = _fill(parts), _sender(parts)
    changed, session = clients[-1]
    for number in range(4 * WORK_PER_TURN):
        parts.sessions.subscribe(session, f"other/{number}", SubscriptionOptions(0))
    ended = _send(parts, sink)
    parts.sessions.remove_subscription(session, "other/1")
    turns = 0
    while not ended:
        parts.loop.turn()
        turns += 1
    assert turns >= (MANY * UNITS_PER_SEND + 2 * WORK_PER_TURN) // WORK_PER_TURN
    assert changed.payloads() == [b"x"]
