"""Shared subscriptions: one member of a group gets each message, and a group belongs to its owner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Principal, is_shared, split_shared
from fleetkey.broker.codec import Reason, SubscriptionOptions
from tests.unit.broker.rig import principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.broker.rig import Parts, Sink

SHARED_FILTER = "$share/g/x/#"


def _member(parts: Parts, who: Principal, name: str, *, qos: int = 1, clean: bool = True) -> Sink:
    sink, opened = parts.open(who, client_id=name, clean=clean)
    parts.sessions.subscribe(opened.session, SHARED_FILTER, SubscriptionOptions(qos))
    return sink


def _publish(parts: Parts, count: int, qos: int = 1) -> None:
    for number in range(count):
        parts.publish(f"x/{number}", b"%d" % number, qos)


@pytest.mark.parametrize(
    ("topic_filter", "parts"),
    [
        ("$share/g/a/b", ("g", "a/b")),
        ("$share/g//a", ("g", "/a")),
        ("$share/g/", ("", "$share/g/")),
        ("$share/g", ("", "$share/g")),
        ("$share//a", ("", "a")),
        ("$share/g+/a", ("", "$share/g+/a")),
        ("$share/#", ("", "$share/#")),
    ],
)
def test_split(topic_filter: str, parts: tuple[str, str]) -> None:
    """Name and filter; the name is empty if it isn't one (4.8.2-1, 4.8.2-2)."""
    assert is_shared(topic_filter)
    assert split_shared(topic_filter) == parts


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_in_turns(parts: Parts, qos: int) -> None:
    """Every member has its turn, and each message goes to one of them."""
    members = [_member(parts, principal("key"), f"m{number}", qos=2) for number in range(4)]
    _publish(parts, 40, qos)
    counts = [len(member.sent) for member in members]
    assert counts == [10] * 4
    assert len({payload for member in members for payload in member.payloads()}) == 40


async def test_groups_of_two_owners(parts: Parts) -> None:
    """The same name is two groups: neither owner takes messages away from the other."""
    one, other = _member(parts, principal("key"), "a"), _member(parts, principal("another"), "b")
    _publish(parts, 6)
    assert len(one.sent) == len(other.sent) == 6


async def test_only_within_scope(parts: Parts) -> None:
    """A member gets only what its scope allows at that moment; what nobody may have goes nowhere."""
    narrow, wide = principal("key", "x/1", "x/2"), principal("key", "x/1", "x/3", "x/4")
    few, many = _member(parts, narrow, "a"), _member(parts, wide, "b")
    _publish(parts, 6)
    assert {got.topic for got in few.take()} <= {"x/1", "x/2"}
    assert {got.topic for got in many.take()} >= {"x/3", "x/4"}
    wide.is_revoked = True
    _publish(parts, 6)
    assert {got.topic for got in few.take()} == {"x/1", "x/2"}
    assert many.take() == []


async def test_away_members_last(parts: Parts) -> None:
    """A member that is away gets something only while nobody is connected, and then what has a QoS."""
    who = principal("key")
    away, here = _member(parts, who, "away", clean=False), _member(parts, who, "here")
    away.close(Reason.CONNECTION_LOST)
    _publish(parts, 4)
    assert len(here.take()) == 4
    here.close(Reason.CONNECTION_LOST)
    _publish(parts, 3, qos=1)
    _publish(parts, 3, qos=0)
    session = parts.sessions.get("away")
    assert session is not None
    assert session.queued_messages == 3


async def test_behind_with_reading(parts: Parts) -> None:
    """Who reads comes before who is behind."""
    who = principal("key")
    slow, fast = _member(parts, who, "slow"), _member(parts, who, "fast")
    slow.is_paused = True
    _publish(parts, 6)
    assert (len(slow.sent), len(fast.sent)) == (0, 6)


async def test_back_again(parts: Parts) -> None:
    """A member that comes back has its turns again, at any QoS."""
    who = principal("key")
    one, other = _member(parts, who, "a", clean=False), _member(parts, who, "b")
    one.close(Reason.CONNECTION_LOST)
    _publish(parts, 4, qos=0)
    assert len(other.take()) == 4
    back, opened = parts.open(who, client_id="a")
    assert opened.is_present
    _publish(parts, 6, qos=0)
    assert (len(back.take()), len(other.take())) == (3, 3)


async def test_away_members_cost_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that are away aren't looked at for each message."""
    who = principal("key")
    for number in range(50):
        _member(parts, who, f"m{number}", clean=False).close(Reason.CONNECTION_LOST)
    asked: list[str] = []

    def may_receive(_: Principal, topic: str) -> bool:
        asked.append(topic)
        return True

    monkeypatch.setattr(Principal, "may_receive", may_receive)
    _publish(parts, 10, qos=0)
    assert asked == []
    _publish(parts, 10, qos=1)
    assert len(asked) == 10


async def test_leaving(parts: Parts) -> None:
    """Whoever leaves gets nothing more; with the last one, the group and what it took are gone."""
    who = principal("key")
    before = parts.accounts.memory.charged
    one, other = _member(parts, who, "a"), _member(parts, who, "b")
    session = parts.sessions.get("a")
    assert session is not None
    parts.sessions.remove_subscription(session, SHARED_FILTER)
    _publish(parts, 4)
    assert (len(one.sent), len(other.sent)) == (0, 4)
    parts.delivery.acknowledged(parts.sessions.get("b"), 1)  # type: ignore[arg-type] # it is there
    one.close(Reason.CONNECTION_LOST)
    other.close(Reason.CONNECTION_LOST)
    parts.loop.settle()
    assert list(parts.trie.filters()) == []
    assert parts.accounts.memory.charged == before


async def test_restored(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """After a restart, the members of a group are one group again, whatever their order in the file."""
    for name in ("a", "b"):
        _member(parts, principal("key"), name, clean=False).close(Reason.CONNECTION_LOST)
    await parts.close()
    after = new_parts()
    after.restore()
    _publish(after, 10)
    counts = Counter(session.queued_messages for session in after.sessions)
    assert sum(number * times for number, times in counts.items()) == 10


async def test_bounds(new_parts: Callable[..., Parts]) -> None:
    """Groups of an owner, and members of a group; another owner's don't count."""
    parts = new_parts(max_shared_groups=2, max_shared_members=2)
    groups = parts.sessions.groups
    for name in ("a", "b"):
        _member(parts, principal("key"), name)
    assert groups.bound_reached("key", SHARED_FILTER) == "max_shared_members"
    assert groups.bound_reached("key", "$share/h/x/#") == ""
    session = parts.sessions.get("a")
    assert session is not None
    parts.sessions.subscribe(session, "$share/h/x/#", SubscriptionOptions(0))
    assert groups.bound_reached("key", "$share/i/x/#") == "max_shared_groups"
    assert groups.bound_reached("another", SHARED_FILTER) == ""
