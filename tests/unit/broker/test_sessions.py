"""Sessions opened, taken over, left, expired, dropped and brought back; over a real file, with no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.replay_queue import ENTRIES_PER_UNIT
from fleetkey.broker.sessions import MAX_EXPIRED_PER_TICK
from fleetkey.broker.store import group_commit
from fleetkey.broker.work import WORK_AT_ONCE
from tests.unit.broker.rig import Parts, Time, message, principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.session import Session

DEVICE = "0" * 23 + "1"
EXPIRY_SECONDS = 100


@pytest.fixture
def time() -> Time:
    """Return the time of `parts`."""
    return Time()


@pytest.fixture
def parts(new_parts: Callable[..., Parts], time: Time) -> Parts:
    """Return parts in which sessions expire after `EXPIRY_SECONDS`."""
    return new_parts(clock=time.clock(), session_expiry_seconds=EXPIRY_SECONDS)


def _left(parts: Parts, client_id: str, *filters: str, qos: int = 1) -> Session:
    """Return a session whose client is away."""
    sink, session = parts.join(client_id, *filters, qos=qos)
    sink.close(Reason.CONNECTION_LOST)
    return session


async def test_open_new(parts: Parts) -> None:
    """A client that wasn't here gets a session of its own, and there is nothing to wait for."""
    sink, opened = parts.open(principal(DEVICE, is_device=True))
    session = opened.session
    assert not opened.is_present
    assert opened.position == 0
    assert (session.client_id, session.owner, session.connection, session.principal) == (
        DEVICE,
        DEVICE,
        sink,
        sink.principal,
    )
    assert session.is_kept
    assert session.row
    assert parts.sessions.get(DEVICE) is session
    assert list(parts.sessions) == [session]


async def test_open_clean(parts: Parts) -> None:
    """A clean session isn't stored."""
    _, opened = parts.open(principal("a"), clean=True)
    assert not opened.session.is_kept
    assert not opened.session.row
    assert parts.store.position == 0


async def test_clean_start_lost(
    parts: Parts, new_parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    """An end that was noted while the disk failed, and lost to what came after, is noted again for the next start."""
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 3 * group_commit.NOTE_BYTES)
    _left(parts, "a", "x")
    await parts.settle()
    with parts.failing():
        sink, _ = parts.open(principal("a"), clean=True)
        sink.close(Reason.REFUSED)
        for number in range(4):
            _left(parts, f"other {number}")
        assert not await parts.commit()
        assert parts.sessions.is_ending("a")
    await parts.settle()
    assert not parts.sessions.is_ending("a")
    _, opened = parts.open(principal("a"), clean=True)
    assert opened.position > parts.store.committed
    await parts.close()
    assert "a" not in {stored.client_id for stored in new_parts(clock=time.clock()).store.load().sessions}


async def test_open_again(parts: Parts) -> None:
    """A client that comes back finds its session, which then doesn't expire."""
    session = _left(parts, "a", "x")
    assert session.expires_at is not None
    sink, opened = parts.open(principal("a"))
    assert opened.is_present
    assert opened.session is session
    assert opened.position == 0
    assert session.connection is sink
    assert session.expires_at is None
    assert len(parts.sessions._away) == 0


async def test_open_changes_who_may_receive(parts: Parts) -> None:
    """The principal is the newer one, by which routes are found from then on."""
    session = _left(parts, "a", "#", qos=0)
    old = parts.router.resolve(b"x", "x")
    narrow = principal("a", "y")
    sink, _ = parts.open(narrow)
    assert session.principal is narrow
    assert old.branch.is_over
    parts.publish("x")
    parts.publish("y", b"mine")
    assert sink.payloads() == [b"mine"]


@pytest.mark.parametrize("clean", [True, False])
async def test_take_over(parts: Parts, *, clean: bool) -> None:
    """The older connection is closed; its session goes on if it is kept, and both want that."""
    first, session = parts.join("a", "x", clean=clean)
    second, opened = parts.open(principal("a"), clean=clean)
    assert first.closed == [Reason.SESSION_TAKEN_OVER]
    assert opened.is_present is not clean
    assert (opened.session is session) is not clean
    assert session.is_over is clean
    assert opened.session.connection is second
    assert len(parts.sessions) == 1


async def test_clean_start(parts: Parts) -> None:
    """The older session is gone, and the position is where the store has forgotten it."""
    session = _left(parts, "a", "x")
    await parts.commit()
    sink, opened = parts.open(principal("a"), clean=True)
    assert session.is_over
    assert not opened.is_present
    assert opened.session is not session
    assert opened.position == parts.store.position > parts.store.committed
    parts.publish("x", qos=1)
    assert sink.sent == []
    assert await parts.commit()
    assert parts.store.load().sessions == []


async def test_leave(parts: Parts, time: Time) -> None:
    """A kept session waits, and keeps what comes; a clean one ends."""
    session = _left(parts, "a", "x")
    clean, clean_session = parts.join("b", "x", clean=True, qos=1)
    clean.close(Reason.CLIENT_DISCONNECTED)
    assert session.connection is None
    assert session.expires_at == time.seconds + EXPIRY_SECONDS
    assert clean_session.is_over
    assert parts.sessions.get("b") is None
    parts.publish("x", qos=1)
    assert session.queued_messages == 1
    assert not clean_session.queue


async def test_expire(parts: Parts, time: Time) -> None:
    """Who has been away for too long is dropped, in portions; who is here, or left later, stays."""
    gone = [_left(parts, f"gone{number}") for number in range(MAX_EXPIRED_PER_TICK + 5)]
    _, here = parts.join("here")
    time.seconds += EXPIRY_SECONDS / 2
    later = _left(parts, "later")
    parts.sessions.expire(0)
    assert not any(session.is_over for session in gone)
    time.seconds += EXPIRY_SECONDS / 2
    parts.sessions.expire(0)
    assert sum(session.is_over for session in gone) == MAX_EXPIRED_PER_TICK
    parts.sessions.expire(0)
    assert set(parts.sessions) == {here, later}


async def test_return_after_the_end(parts: Parts, time: Time) -> None:
    """Whoever comes back too late finds a new session, even if the old one wasn't dropped yet."""
    session = _left(parts, "a", "x")
    time.seconds += EXPIRY_SECONDS
    _, opened = parts.open(principal("a"))
    assert (opened.is_present, session.is_over) == (False, True)
    assert opened.session.subscriptions == {}


async def test_expire_after_return(parts: Parts, time: Time) -> None:
    """Only the time since it left last counts."""
    session = _left(parts, "a")
    time.seconds += EXPIRY_SECONDS - 1
    sink, _ = parts.open(principal("a"))
    time.seconds += EXPIRY_SECONDS
    parts.sessions.expire(0)
    sink.close(Reason.CONNECTION_LOST)
    time.seconds += EXPIRY_SECONDS - 1
    parts.sessions.expire(0)
    assert not session.is_over


async def test_drop(parts: Parts) -> None:
    """Nothing of a session is left: what waited, its subscriptions, its rows."""
    session = _left(parts, "a", "x", "y/#", qos=2)
    parts.retain("x", qos=1)
    sink, _ = parts.open(principal("a"))
    parts.publish("y/z", qos=2)
    sink.close(Reason.CONNECTION_LOST)
    parts.sessions.drop(session)
    parts.loop.settle()
    for waiting in (session.queue, session.inflight, session.unsent, session.replays, session.resending):
        assert len(waiting) == 0
    assert parts.trie._root.is_empty
    assert len(parts.sessions._away) == 0
    assert await parts.commit()
    for table in ("sessions", "subscriptions", "deliveries", "inbound"):
        assert parts.store._connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608


async def test_drop_many_subscriptions(parts: Parts) -> None:
    """However many subscriptions it has, it receives nothing from the moment it is dropped; the rest takes turns."""
    filters = [f"x/{number}/{'y/' * 20}" for number in range(WORK_AT_ONCE)]
    session = _left(parts, "a", *filters)
    parts.sessions.drop(session)
    assert not parts.trie._root.is_empty
    parts.publish(filters[-1], qos=1)
    assert not session.queue
    assert parts.loop.settle() > 1
    assert parts.trie._root.is_empty


async def test_drop_leaves_the_next(parts: Parts) -> None:
    """An old session that is dropped once more takes no newer one of that client id with it."""
    old = _left(parts, "a")
    parts.sessions.drop(old)
    _, session = parts.join("a")
    parts.sessions.drop(old)
    assert parts.sessions.get("a") is session


async def test_of_owner(parts: Parts) -> None:
    """A device has one session; an application key those that it opened."""
    _, device = parts.open(principal(DEVICE, is_device=True))
    first = parts.open(principal("key"), client_id="one")[1].session
    second = parts.open(principal("key"), client_id="two")[1].session
    parts.open(principal("other"), client_id="three")
    assert parts.sessions.of_owner(DEVICE) == [device.session]
    assert parts.sessions.of_owner("key") == [first, second]
    assert parts.sessions.of_owner("0" * 24) == []


async def test_subscriptions(parts: Parts) -> None:
    """Session, tree and file have the same, with the newest QoS."""
    _, session = parts.join("a")
    for qos in (2, 1):
        parts.sessions.subscribe(session, "x/+", SubscriptionOptions(qos))
    parts.sessions.subscribe(session, "y", SubscriptionOptions(0))
    parts.sessions.remove_subscription(session, "y")
    parts.sessions.remove_subscription(session, "never")
    assert session.subscriptions == {"x/+": SubscriptionOptions(1)}
    assert dict(parts.trie.filters()) == {"x/+": {session: SubscriptionOptions(1)}}
    assert await parts.commit()
    (stored,) = parts.store.load().sessions
    assert stored.subscriptions == {"x/+": SubscriptionOptions(1)}


async def test_subscriptions_of_clean_session(parts: Parts) -> None:
    """Nothing of them is stored."""
    _, session = parts.join("a", "x", clean=True)
    parts.sessions.remove_subscription(session, "x")
    assert parts.store.position == 0


async def test_restore(new_parts: Callable[..., Parts], parts: Parts, time: Time) -> None:
    """A new process has the same sessions: what they subscribed to, what waits and what is unfinished, in order."""
    sink, session = parts.join("a", "x", "y/#", qos=2)
    for number in range(3):
        parts.publish("x", b"%d" % number, qos=1)
    assert sink.payloads() == [b"0", b"1", b"2"]
    parts.delivery.acknowledged(session, 1)
    parts.publish("y/1", b"twice", qos=2)
    await parts.commit()
    parts.delivery.received(session, 4)
    session.inbound[9] = 0
    parts.store.add_inbound(session, 9)
    sink.close(Reason.CONNECTION_LOST)
    parts.publish("x", b"queued", qos=1)
    await parts.close()

    after = new_parts(clock=time.clock())
    after.restore()
    (restored,) = after.sessions
    assert (restored.client_id, restored.owner, restored.principal) == ("a", "a", None)
    assert restored.subscriptions == session.subscriptions
    assert restored.inbound == {9: 0}
    assert restored.queued_messages == 1
    assert {packet_id: outgoing.is_released for packet_id, outgoing in restored.inflight.items()} == {
        2: False,
        3: False,
        4: True,
    }
    sink, opened = after.open(principal("a"))
    assert opened.is_present
    assert [(sent.payload, sent.dup, sent.number) for sent in sink.take()] == [
        (b"1", True, 2),
        (b"2", True, 3),
        (b"queued", False, 5),
    ]


@pytest.mark.parametrize("is_away", [True, False])
async def test_restore_expiry(new_parts: Callable[..., Parts], time: Time, *, is_away: bool) -> None:
    """A session goes on expiring from when its client left; one that was connected, from the restart on."""
    clock = time.clock()
    parts = new_parts(clock=clock, session_expiry_seconds=EXPIRY_SECONDS)
    sink, _ = parts.join("a")
    if is_away:
        sink.close(Reason.CONNECTION_LOST)
    await parts.close()
    time.seconds += EXPIRY_SECONDS - 1
    after = new_parts(clock=clock, session_expiry_seconds=EXPIRY_SECONDS)
    after.restore()
    time.seconds += 2
    after.sessions.expire(0)
    assert len(after.sessions) == int(not is_away)
    time.seconds += EXPIRY_SECONDS
    after.sessions.expire(0)
    assert len(after.sessions) == 0


async def test_restore_with_shorter_expiry(new_parts: Callable[..., Parts], time: Time) -> None:
    """A shorter time holds for what was stored before as well, and for all in the order in which they end."""
    clock = time.clock()
    parts = new_parts(clock=clock, session_expiry_seconds=1_000)
    for client_id in ("a", "b", "c"):
        _left(parts, client_id)
        time.seconds += 50
    await parts.close()
    after = new_parts(clock=clock, session_expiry_seconds=10)
    after.restore()
    time.seconds += 11
    after.sessions.expire(0)
    assert len(after.sessions) == 0


async def test_restore_unsent_retained(new_parts: Callable[..., Parts], parts: Parts, time: Time) -> None:
    """Retained messages that a subscription was still to be sent come after a restart."""
    parts.retain("x/1")
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, "x/+", SubscriptionOptions(1))
    await parts.close()
    after = new_parts(clock=time.clock())
    after.restore()
    sink, _ = after.open(principal("a"))
    assert [(sent.payload, sent.retain) for sent in sink.take()] == [(b"kept", True)]


async def test_add(parts: Parts) -> None:
    """A session that the host makes waits for its owner alone, and keeps what comes."""
    session = parts.sessions.add(DEVICE, DEVICE, is_kept=True)
    parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
    parts.router.publish(message("x", b"early", 1))
    sink, opened = parts.open(principal(DEVICE, is_device=True))
    assert opened.session is session
    assert sink.payloads() == [b"early"]


async def test_drop_long_queue(new_parts: Callable[..., Parts]) -> None:
    """However much waits for a session, it is gone from the moment it is dropped; letting go of it takes turns."""
    many = 2 * WORK_AT_ONCE * ENTRIES_PER_UNIT
    parts = new_parts(max_queued_messages=many)
    session = _left(parts, "a", "x")
    parts.publish("x", qos=1)
    waits = session.queue
    waits.extend(waits[0] for _ in range(many))
    parts.sessions.drop(session)
    assert not session.queue
    assert 0 < len(waits) < many
    assert parts.loop.settle() >= 1
    assert not waits
