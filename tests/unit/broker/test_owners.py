"""What is left of a deleted owner: nothing, in turns; and none of it is delivered from the first moment on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest

from fleetkey.broker.codec import Kind, Reason
from fleetkey.broker.owners import UNITS_PER_END, Owners
from fleetkey.broker.retained import RetainedMessage
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN, filter_cost
from tests.support import packets as wire
from tests.support.versions import LEVEL_5, speaking
from tests.unit.broker.connection_rig import PINGREQ, Client, Rig
from tests.unit.broker.rig import Parts, message, principal

if TYPE_CHECKING:
    from fleetkey.broker.handlers import ConnectHandler

OWNER = "gone"
MANY = WORK_PER_TURN


def _retain(parts: Parts, topic: str, owner: str) -> None:
    kept, older = RetainedMessage(message=message(topic, owner.encode(), 1, owner)), parts.retained.stored(topic)
    assert parts.retained.keep(kept, is_bounded=False)
    parts.store.keep_retained(kept, older)


def _forget(parts: Parts) -> None:
    handler = cast("ConnectHandler", None)
    Owners(parts.sessions, parts.retained, parts.store, handler, parts.wills, parts.work).forget(OWNER)


async def test_many_retained(parts: Parts) -> None:
    """However many retained messages an owner has, a turn removes some of them, and nobody gets any more of them."""
    _retain(parts, "m/other", "other")
    for number in range(MANY):
        _retain(parts, f"m/{number}", OWNER)
    _forget(parts)
    assert MANY - WORK_AT_ONCE <= len(parts.retained) - 1 < MANY
    sink, _ = parts.join("a", "m/#", f"m/{MANY - 1}", "m/0")
    sizes = []
    while parts.work:
        sizes.append(len(parts.retained))
        parts.loop.turn()
    assert len(sizes) > 2
    assert max(before - after for before, after in pairwise(sizes)) <= WORK_PER_TURN // filter_cost("m/0") + 1
    parts.loop.settle()
    assert sink.payloads() == [b"other"]
    assert list(parts.retained.all()) == ["m/other"]
    assert not parts.retained.of_owner(OWNER)
    await parts.settle()
    assert [topic for topic, *_ in parts.store._connection.execute("SELECT topic FROM retained")] == ["m/other"]


async def test_retained_meanwhile(parts: Parts) -> None:
    """What others retain or clear meanwhile is neither hidden nor removed."""
    for number in range(MANY):
        _retain(parts, f"m/{number}", OWNER)
    _forget(parts)
    left = sorted(parts.retained.all())
    kept = left[:3]
    for topic in kept:
        _retain(parts, topic, "other")
    parts.store.drop_retained(left[3], parts.retained.drop(left[3]))
    sink, _ = parts.join("a", "m/#")
    parts.loop.settle()
    assert sorted(sent.topic for sent in sink.take()) == kept
    assert sorted(parts.retained.all()) == kept
    await parts.settle()
    stored = parts.store._connection.execute("SELECT topic FROM retained ORDER BY topic")
    assert [topic for topic, *_ in stored] == kept


@pytest.fixture
async def rig(parts: Parts) -> Rig:
    """Return connections that are let in as an application key which may have everything under `devices/`."""
    return Rig(parts, principal("key", "devices/+/x"))


def _owners(rig: Rig) -> Owners:
    parts = rig.parts
    return Owners(parts.sessions, parts.retained, parts.store, rig.handler, parts.wills, rig.work)


CONNECTIONS = 4 * WORK_PER_TURN // UNITS_PER_END


def _many(rig: Rig) -> list[Client]:
    """Return many clients of one key that are in."""
    clients = [rig.connect(client_id=f"c{number}") for number in range(CONNECTIONS)]
    rig.parts.loop.settle()
    for number, client in enumerate(clients):
        client.send(wire.subscribe(1, f"devices/{number}/x"))
    rig.parts.loop.settle()
    for client in clients:
        client.transport.written = b""
    return clients


async def test_many_revoked(rig: Rig) -> None:
    """Of many connections of a revoked key, none is sent anything from then on; each turn closes a few."""
    clients = _many(rig)
    rig.parts.loop.settle()
    rig.who.is_revoked = True
    _owners(rig).revoke(rig.who)
    assert 0 < len([client for client in clients if not client.transport.is_closed]) < CONNECTIONS
    open_before = CONNECTIONS
    while open_before:
        for number, client in enumerate(clients):
            rig.parts.publish(f"devices/{number}/x", b"late")
            client.send(PINGREQ)
        rig.parts.loop.turn()
        still_open = sum(not client.transport.is_closed for client in clients)
        assert open_before - still_open <= 2 * WORK_PER_TURN // UNITS_PER_END
        open_before = still_open
    assert all(client.packets() == [] for client in clients)
    assert all(session.connection is None for session in rig.parts.sessions)
    disconnected = [who for event, who in rig.parts.observer.told if event == "disconnected"]
    assert sorted(disconnected) == sorted(f"c{number}" for number in range(CONNECTIONS))


async def test_silent_and_revoked(rig: Rig) -> None:
    """A client whose keep-alive ends between `stop` and `abort` is told once; the others are closed all the same."""
    with speaking(LEVEL_5):
        clients = _many(rig)
    for client in clients:
        client.transport.can_half_close = True
    _owners(rig).revoke(rig.who)
    waiting = [client for client in clients if not client.transport.is_half_closed]
    waiting[0].connection.close(Reason.KEEP_ALIVE_TIMEOUT)
    assert waiting[0].transport.is_half_closed
    rig.parts.loop.settle()
    assert all(client.kinds() == [Kind.DISCONNECT] for client in clients)
    assert not any(client.transport.is_closed for client in clients)


async def test_many_revoked_and_deleted(rig: Rig) -> None:
    """When what they left is removed at the same time, each is told as disconnected once, and nothing is left."""
    clients = _many(rig)
    rig.who.is_revoked = True
    owners = _owners(rig)
    owners.revoke(rig.who)
    owners.forget(rig.who.owner)
    rig.parts.loop.settle()
    assert all(client.transport.is_closed for client in clients)
    assert len(rig.parts.sessions) == 0
    assert len(rig.parts.sessions._away) == 0
    assert rig.parts.trie._root.is_empty
    disconnected = [who for event, who in rig.parts.observer.told if event == "disconnected"]
    assert len(disconnected) == CONNECTIONS
