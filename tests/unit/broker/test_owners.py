"""What is left of a deleted owner: nothing, in turns; and none of it is delivered from the first moment on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

from fleetkey.broker.owners import Owners
from fleetkey.broker.retained import RetainedMessage
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN, filter_cost
from tests.unit.broker.rig import Parts, message

if TYPE_CHECKING:
    from fleetkey.broker.handlers import ConnectHandler

OWNER = "gone"
MANY = WORK_PER_TURN


def _retain(parts: Parts, topic: str, owner: str) -> None:
    kept, older = RetainedMessage(message=message(topic, owner.encode(), 1, owner)), parts.retained.stored(topic)
    assert parts.retained.keep(kept, is_bounded=False)
    parts.store.keep_retained(kept, older)


def _forget(parts: Parts) -> None:
    Owners(parts.sessions, parts.retained, parts.store, cast("ConnectHandler", None), parts.work).forget(OWNER)


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
