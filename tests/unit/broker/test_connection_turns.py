"""How much of what one client sends is handled in a turn, and what is remembered of it."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from sys import getsizeof

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.connection import BYTES_PER_PACKET, RECEIVERS_PER_PACKET
from fleetkey.broker.packet_turns import PACKETS_PER_TURN
from fleetkey.broker.publish_topics import MAX_REMEMBERED_BYTES, MAX_REMEMBERED_BYTES_OF_APPLICATION
from fleetkey.broker.route_cache import SENDS_AT_ONCE
from fleetkey.broker.transport.outbound import State
from fleetkey.broker.work import WORK_PER_TURN, filter_cost
from tests.support import packets as wire
from tests.support.packets import Kind
from tests.unit.broker.connection_rig import Rig
from tests.unit.broker.rig import Parts, principal

DEVICE = "0" * 23 + "1"


@pytest.fixture
async def rig(parts: Parts) -> Rig:
    """Return connections that are let in as an application key which may publish under `devices/`."""
    return Rig(parts, principal("key", "devices/+/x", publish=("devices/#",)))


@pytest.mark.parametrize(("receivers", "size"), [(0, 10), (SENDS_AT_ONCE, 10), (1, 40_000)])
async def test_turn_is_paid_by_receivers_and_bytes(rig: Rig, receivers: int, size: int) -> None:
    """The more receivers or bytes a client's messages have, the fewer of them are handled in a turn."""
    topic = "devices/1/x"
    for number in range(receivers):
        rig.parts.join(f"receiver {number}", topic, clean=True)
    client = rig.connect()
    rig.parts.loop.settle()
    client.send(wire.publish(topic, bytes(size)) * 100)
    turns = 1
    while rig.parts.counters.messages_received < 100:
        rig.parts.loop.turn()
        turns += 1
    price = 1 + receivers // RECEIVERS_PER_PACKET + (size // BYTES_PER_PACKET if receivers else 0)
    assert turns == ceil(100 / ceil(PACKETS_PER_TURN / price))


async def test_remembered_topics(rig: Rig) -> None:
    """What a connection remembers of topics is bounded in bytes, of those that it may not publish to as well."""
    client, most = rig.connect(), 0
    rig.parts.loop.settle()
    for number in range(4_000):
        client.send(wire.publish(("devices/{}/x" if number % 2 else "other/{}").format(number) + "/y" * (number % 9)))
        rig.parts.loop.settle()
        remembered = client.connection._routes
        size = sum(getsizeof(topic) + (route.text_bytes if route else 0) for topic, route in remembered.items())
        assert size < client.connection._remembered_bytes <= MAX_REMEMBERED_BYTES_OF_APPLICATION
        most = max(most, len(remembered))
    assert 1_000 < most < 4_000


async def test_remembered_topics_of_a_device(rig: Rig) -> None:
    """A device's connection remembers fewer; its topics are few as well."""
    rig.who = principal(DEVICE, publish=("#",), is_device=True)
    client, most = rig.connect(client_id=DEVICE), 0
    rig.parts.loop.settle()
    for number in range(500):
        client.send(wire.publish(f"x/{number}"))
        rig.parts.loop.settle()
        assert client.connection._remembered_bytes <= MAX_REMEMBERED_BYTES
        most = max(most, len(client.connection._routes))
    assert 40 < most < 200


async def test_remembered_topics_without_room(rig: Rig) -> None:
    """An application for which there is no more room remembers few, rather than being held back for them."""
    client = rig.connect()
    rig.parts.loop.settle()
    account = client.connection.memory
    assert account is not None
    account.share = account.used + 8 * 1024
    for number in range(500):
        client.send(wire.publish(f"devices/{number}/x"))
        rig.parts.loop.settle()
        assert account.used <= account.share
        assert not client.connection.held_back_by


async def test_one_message_at_a_time(rig: Rig) -> None:
    """While a message takes turns, its client's next packets wait, in whichever pieces they come."""
    topic = "devices/1/x"
    sinks = [rig.parts.join(f"receiver {number}", topic, clean=True)[0] for number in range(WORK_PER_TURN)]
    client = rig.connect()
    rig.parts.loop.settle()
    for number in range(20):
        client.send(wire.publish(topic, b"%d" % number))
        assert client.connection.is_suspended
        assert client.connection._last_route is None
        assert len(rig.parts.topic_queues._queues[topic.encode()]) == 1
        rig.parts.loop.turn()
    rig.parts.loop.settle()
    assert not client.connection.is_suspended
    assert {tuple(sink.payloads()) for sink in sinks} == {tuple(b"%d" % number for number in range(20))}


@pytest.mark.parametrize("fails", [False, True])
async def test_store_that_fails_between_turns(rig: Rig, *, fails: bool) -> None:
    """A message that couldn't be stored for everyone who is away isn't acknowledged, though it began to be sent."""
    topic = "devices/1/x"
    for number in range(WORK_PER_TURN):
        sink, _ = rig.parts.join(f"receiver {number}", topic, qos=1)
        sink.close(Reason.CONNECTION_LOST)
    client = rig.connect()
    rig.parts.loop.settle()
    await rig.parts.settle()
    client.send(wire.publish(topic, b"x", qos=1, number=1))
    assert client.connection.is_suspended
    rig.parts.store.is_failing = fails
    rig.parts.loop.settle()
    rig.parts.store.is_failing = False
    await rig.parts.settle()
    rig.parts.loop.settle()
    assert (client.kinds()[-1] == Kind.PUBACK) is not fails
    assert (client.connection.state is State.CLOSED) is fails
    stored = {session.owner for session in rig.parts.store.load().sessions if session.deliveries}
    assert (len(stored) == WORK_PER_TURN) is not fails


async def test_stored_once_over_turns(rig: Rig) -> None:
    """A message is stored once, also if those who were sent it first have acknowledged it before the last get it."""
    topic = "devices/1/x"
    sinks = [rig.parts.join(f"receiver {number}", topic, qos=1) for number in range(WORK_PER_TURN)]
    client = rig.connect()
    rig.parts.loop.settle()
    rows = set()
    client.send(wire.publish(topic, b"x", qos=1, number=1))
    while rig.parts.loop.due:
        for _, session in sinks:
            for packet_id, outgoing in list(session.inflight.items()):
                rows.add(outgoing.message.row)
                rig.parts.delivery.acknowledged(session, packet_id)
        rig.parts.loop.turn()
    assert len(rows) == 1


async def test_many_taken_over_at_once(rig: Rig) -> None:
    """However many sessions end in one turn, what is removed of them is that turn's share together."""
    clients, filters = 40, [f"devices/{number}/x" for number in range(250)]
    for number in range(clients):
        rig.connect(client_id=f"c{number}", clean=True)
    rig.parts.loop.settle()
    for number in range(clients):
        session = rig.parts.sessions.get(f"c{number}")
        assert session is not None
        for topic_filter in filters:
            rig.parts.sessions.add_subscription(session, topic_filter, SubscriptionOptions(0))
    rig.parts.loop.settle()
    seen = [rig.parts.trie.changes]
    for number in range(clients):
        rig.connect(client_id=f"c{number}", clean=True)
    while rig.parts.loop.due:
        seen.append(rig.parts.trie.changes)
        rig.parts.loop.turn()
    assert seen[-1] - seen[0] == clients * len(filters)
    most = WORK_PER_TURN // filter_cost(filters[0]) + 1
    assert max(after - before for before, after in pairwise(seen)) <= most
