"""CONNECT for a session with many subscriptions: in turns, counted on a loop that the test turns by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.connection import SHORT_JOB_BYTES, Connection
from fleetkey.broker.transport.outbound import State
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN
from tests.support import packets as wire
from tests.support.packets import Kind
from tests.unit.broker.connection_rig import CLIENT, MANY, PINGREQ, Client, Rig
from tests.unit.broker.rig import Parts, principal, publications_of


@pytest.fixture
async def rig(parts: Parts) -> Rig:
    """Return connections that are let in as an application key which may have everything under `devices/`."""
    return Rig(parts, principal("key", "devices/+/x"))


async def test_few_subscriptions(rig: Rig) -> None:
    """A session with few of them is there at once."""
    rig.away(*MANY[: WORK_AT_ONCE - 1])
    client = rig.connect()
    assert not client.connection.is_suspended
    assert len(rig.work) == 0
    assert rig.turn_until_answered(client) == 1
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\1\0")]


@pytest.mark.parametrize("is_taken_over", [True, False])
async def test_many_subscriptions(rig: Rig, *, is_taken_over: bool) -> None:
    """However many there are, each turn decides as many anew as it may; the answer comes after all of them."""
    rig.away(*MANY)
    older = rig.connect() if is_taken_over else None
    rig.parts.loop.settle()
    routes = [rig.parts.router.resolve(topic.encode(), topic) for topic in MANY]
    client, seen = rig.connect(), []
    while not client.packets():
        seen.append(sum(route.branch.is_over for route in routes))
        assert client.connection.is_deciding or seen[-1] == len(MANY)
        rig.parts.loop.turn()
    assert seen[0] <= WORK_AT_ONCE
    assert all(after - before <= WORK_PER_TURN for before, after in itertools.pairwise(seen))
    assert seen[-1] == len(MANY)
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\1\0")]
    assert older is None or older.transport.is_closed


async def test_messages_meanwhile(rig: Rig) -> None:
    """What is published while it waits comes behind its answer, if it was to be kept; what its client sent, too."""
    rig.away(*MANY)
    client = rig.connect(behind=PINGREQ)
    for topic in (MANY[0], MANY[-1]):
        rig.parts.publish(topic, b"live")
        rig.parts.publish(topic, b"kept", 1)
    client.connection.pause_writing()
    client.connection.resume_writing()
    rig.parts.loop.turn()
    rig.parts.publish(MANY[0], b"later", 1)
    rig.parts.publish(MANY[0], b"live")
    assert client.packets() == []
    rig.parts.loop.settle()
    assert client.kinds() == [Kind.CONNACK, Kind.PUBLISH, Kind.PUBLISH, Kind.PUBLISH, Kind.PINGRESP]
    assert [sent.payload for sent in publications_of(client.packets())] == [b"kept", b"kept", b"later"]
    rig.parts.publish(MANY[-1], b"now")
    rig.parts.loop.settle()
    assert publications_of(client.packets())[-1].payload == b"now"


async def test_exactly_once_meanwhile(rig: Rig) -> None:
    """A message whose packet id is committed meanwhile comes behind the answer as well."""
    session = rig.away(*MANY)
    rig.parts.sessions.add_subscription(session, MANY[0], SubscriptionOptions(2))
    older = rig.connect()
    rig.parts.loop.settle()
    rig.parts.publish(MANY[0], b"once", 2)
    assert len(session.unsent) == 1
    client = rig.connect()
    await rig.parts.settle()
    assert client.packets() == []
    rig.parts.loop.settle()
    assert publications_of(older.packets()) == []
    assert client.kinds() == [Kind.CONNACK, Kind.PUBLISH]
    assert not session.unsent


async def test_narrower_scope(rig: Rig) -> None:
    """What the client's new key may not receive doesn't come, whenever its topic was looked up."""
    rig.away(*MANY)
    for topic in MANY:
        rig.parts.router.resolve(topic.encode(), topic)
    rig.who = principal("key", MANY[0])
    client = rig.connect()
    rig.parts.loop.turn()
    for topic in MANY:
        rig.parts.publish(topic, topic.encode(), 1)
    rig.parts.loop.settle()
    for topic in MANY:
        rig.parts.publish(topic, topic.encode(), 0)
    rig.parts.loop.settle()
    assert {sent.topic for sent in publications_of(client.packets())} == {MANY[0]}


async def test_taken_over_meanwhile(rig: Rig) -> None:
    """The newest connection has the session, after a job of its own; the one before it gets no answer."""
    session = rig.away(*MANY)
    first = rig.connect()
    rig.parts.loop.turn()
    second = rig.connect()
    rig.parts.loop.settle()
    assert first.packets() == []
    assert first.transport.is_closed
    assert first.connection.state is State.CLOSED
    assert second.kinds() == [Kind.CONNACK]
    assert session.connection is second.connection
    rig.parts.publish(MANY[-1], b"x", 1)
    rig.parts.loop.settle()
    assert len(publications_of(second.packets())) == 1
    assert len(rig.work) == 0


async def test_clean_start_meanwhile(rig: Rig) -> None:
    """A clean start ends the session that is still being taken up."""
    session = rig.away(*MANY)
    first = rig.connect()
    rig.parts.loop.turn()
    second = rig.connect(clean=True)
    await rig.parts.settle()
    rig.parts.loop.settle()
    assert session.is_over
    assert (first.packets(), second.packets()) == ([], [wire.packet(Kind.CONNACK, 0, b"\0\0")])
    assert rig.parts.trie._root.is_empty


@pytest.mark.parametrize("behind", [b"", PINGREQ])
async def test_closed_meanwhile(rig: Rig, behind: bytes) -> None:
    """A session whose client is gone again waits for the next connection, as before."""
    session = rig.away(*MANY)
    client = rig.connect(behind=behind)
    rig.parts.loop.turn()
    client.connection.connection_lost(None)
    rig.parts.loop.settle()
    assert session.connection is None
    assert session.expires_at is not None
    assert client.connection.state is State.CLOSED
    # What it sent behind its CONNECT is handled after that.
    assert (("connected", CLIENT) in rig.parts.observer.told) is bool(behind)
    assert len(rig.work) == 0
    rig.parts.publish(MANY[0], b"x", 1)
    again = rig.connect()
    rig.parts.loop.settle()
    assert again.kinds() == [Kind.CONNACK, Kind.PUBLISH]


async def test_revoked_meanwhile(rig: Rig) -> None:
    """A client whose key stops being valid meanwhile is refused."""
    session = rig.away(*MANY)
    client = rig.connect()
    rig.parts.loop.turn()
    rig.who.is_revoked = True
    rig.handler.revoke(client.connection)
    rig.parts.loop.settle()
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\0\5")]
    assert session.connection is None


async def test_deleted_meanwhile(rig: Rig) -> None:
    """A client whose session is dropped meanwhile gets no answer."""
    session = rig.away(*MANY)
    client = rig.connect()
    rig.parts.loop.turn()
    client.connection.abort(Reason.DELETED)
    rig.parts.sessions.drop(session)
    rig.parts.loop.settle()
    assert client.packets() == []
    assert client.transport.is_closed
    assert rig.parts.trie._root.is_empty


async def test_trickle(rig: Rig) -> None:
    """A client that sends its CONNECT a byte at a time isn't read from for a while after each."""
    client = Client(Connection(rig.connection_parts, "tcp"))
    connect = wire.connect(CLIENT, username="user", password=b"secret")
    reading: list[bool] = []
    transport: Any = client.connection.transport
    transport.pause_reading = lambda: reading.append(False)
    transport.resume_reading = lambda: reading.append(True)
    for at in range(6):
        client.send(connect[at : at + 1])
        assert reading[-1] is False
        rig.parts.loop.tick()
        rig.parts.loop.tick()
        assert reading[-1] is True
    client.send(connect[6:])
    assert reading[-1] is True
    rig.turn_until_answered(client)
    assert client.kinds() == [wire.Kind.CONNACK]


async def test_subscribe_while_store_is_behind(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SUBSCRIBE is done before the next packet is handled, even if the store catches up in between."""
    rig = Rig(parts, principal(CLIENT))
    for number in range(2 * WORK_PER_TURN):
        parts.retain(f"r/{number}")
    client = rig.connect()
    await parts.settle()
    parts.loop.settle()
    monkeypatch.setattr("fleetkey.broker.store.group_commit.MAX_WAITERS", 0)
    client.send(wire.subscribe(7, ("r/#", 0), ("x" * SHORT_JOB_BYTES, 1)) + PINGREQ)
    assert len(rig.work) == 1
    await parts.settle()
    assert len(rig.work) == 1
    assert client.connection.is_suspended
    parts.loop.settle()
    await parts.settle()
    parts.loop.settle()
    assert not client.connection.is_suspended
    kinds = [kind for kind in client.kinds() if kind != Kind.PUBLISH]
    assert kinds == [Kind.CONNACK, Kind.SUBACK, Kind.PINGRESP]


async def test_will_while_many_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a will is told to try again while too many wills are to be sent; others are let in."""
    monkeypatch.setattr("fleetkey.broker.topic_queues.MAX_UNSENT_BYTES", 0)
    client = rig.connect(client_id="with", will=wire.Will("devices/1/x"))
    rig.turn_until_answered(client)
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\0\3")]
    client = rig.connect(client_id="without")
    rig.turn_until_answered(client)
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\0\0")]
    assert rig.parts.sessions.get("with") is None


async def test_revoked_before_its_answer(rig: Rig) -> None:
    """One that waits for its answer is refused, even if the turn in which it would be closed hasn't come."""
    rig.away(*MANY)
    client = rig.connect()
    assert client.connection.is_deciding
    rig.who.is_revoked = True
    rig.parts.loop.settle()
    assert client.packets() == [wire.packet(Kind.CONNACK, 0, b"\0\5")]


async def test_stopped_and_taken_over(rig: Rig) -> None:
    """A connection that was stopped and not closed yet is closed when its session is taken over."""
    older = rig.connect()
    rig.parts.loop.settle()
    older.connection.stop()
    assert not older.transport.is_closed
    rig.connect()
    rig.parts.loop.settle()
    assert older.transport.is_closed
    assert [event for event, _ in rig.parts.observer.told] == ["connected", "disconnected", "connected"]
