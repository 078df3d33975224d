"""A message is stored once, however many refer to it, and is deleted with the last of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Kind, Reason, SubscriptionOptions
from fleetkey.broker.session import RetainedReplay
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN
from tests.unit.broker.rig import Parts, packets_of, principal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleetkey.broker.session import Session

CLIENTS = 20


def _stored(folder: Path) -> list[tuple[str, bytes]]:
    """Return topic and payload of all that is in the file."""
    with closing(sqlite3.connect(folder / "broker.db")) as look:
        return look.execute("SELECT topic, payload FROM messages ORDER BY row").fetchall()


def _count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "broker.db")) as look:
        return int(look.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - the test's own name


def _left(parts: Parts, client_id: str, *filters: str, qos: int = 1) -> Session:
    sink, session = parts.join(client_id, *filters, qos=qos)
    sink.close(Reason.CLIENT_DISCONNECTED)
    return session


async def test_many_receivers(parts: Parts, tmp_path: Path) -> None:
    """One that is retained and waits for many sessions has one row, until the last of them is gone."""
    sessions = [_left(parts, f"c{number}", "x") for number in range(CLIENTS)]
    parts.retain("x", b"once", qos=1)
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"once")]
    assert _count(tmp_path, "deliveries") == CLIENTS
    for session in sessions[1:]:
        parts.sessions.drop(session)
    parts.loop.settle()
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"once")]
    parts.store.drop_retained("x", parts.retained.drop("x"))
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"once")]
    sink, _ = parts.open(principal("c0"))
    (got,) = sink.take()
    parts.delivery.acknowledged(sessions[0], got.number)
    await parts.settle()
    assert _stored(tmp_path) == []


async def test_retained_replaced(parts: Parts, tmp_path: Path) -> None:
    """A newer value takes the place of the older one, also if an owner left that and it is still being removed."""
    for payload in (b"1", b"2"):
        parts.retain("x", payload)
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"2")]
    removed = parts.retained.forget("")
    parts.retain("x", b"3")
    assert list(removed) == [None]
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"3")]


async def test_replayed(parts: Parts, tmp_path: Path) -> None:
    """A retained message that is sent to new subscriptions isn't stored again."""
    parts.retain("x", b"kept", qos=1)
    for number in range(CLIENTS):
        parts.join(f"c{number}", "x", qos=1)
    await parts.settle()
    assert _stored(tmp_path) == [("x", b"kept")]
    assert _count(tmp_path, "deliveries") == CLIENTS


async def test_released(new_parts: Callable[..., Parts], parts: Parts, tmp_path: Path) -> None:
    """Once a QoS 2 message is released, only its handshake is stored; after a restart it can be completed."""
    sink, session = parts.join("a", "x", qos=2)
    parts.publish("x", b"long", 2)
    await parts.settle()
    (got,) = sink.take()
    parts.delivery.received(session, got.number)
    await parts.settle()
    assert (_stored(tmp_path), _count(tmp_path, "deliveries")) == ([], 1)
    sink.close(Reason.CONNECTION_LOST)
    await parts.close()
    after = new_parts()
    after.restore()
    sink, opened = after.open(principal("a"))
    assert [packet.kind for packet in packets_of(sink.sent)] == [Kind.PUBREL]
    assert after.delivery.completed(opened.session, got.number)
    await after.settle()
    assert _count(tmp_path, "deliveries") == 0


async def test_restored(new_parts: Callable[..., Parts], parts: Parts, tmp_path: Path) -> None:
    """After a restart, those that refer to one row share one message, and it is deleted with the last of them."""
    for number in range(CLIENTS):
        _left(parts, f"c{number}", "x")
    parts.retain("x", b"once", qos=1)
    await parts.close()
    after = new_parts()
    after.restore()
    kept = after.retained.get("x")
    assert kept is not None
    assert {id(entry.message) for session in after.sessions for entry in session.queue} == {id(kept.message)}  # type: ignore[union-attr] # no replay waits
    assert kept.message.references == CLIENTS + 1
    for session in list(after.sessions):
        after.sessions.drop(session)
    after.loop.settle()
    after.retain("x", b"new")
    await after.settle()
    assert _stored(tmp_path) == [("x", b"new")]


async def test_dropped_session_takes_turns(parts: Parts, tmp_path: Path) -> None:
    """However much waits in a session that is dropped, a turn notes a bounded number of deletions."""
    session = _left(parts, "a", "x")
    for _ in range(parts.limits.max_queued_messages):
        parts.publish("x", qos=1)
    waiting = session.queued_messages
    assert waiting > 3 * WORK_AT_ONCE
    before = parts.store.position
    parts.sessions.drop(session)
    noted = [parts.store.position - before]
    while parts.work:
        at = parts.store.position
        parts.loop.turn()
        noted.append(parts.store.position - at)
    assert max(noted) <= WORK_PER_TURN
    assert noted[0] <= WORK_AT_ONCE + 1
    assert sum(noted) == waiting + 1
    await parts.settle()
    assert _stored(tmp_path) == []


@pytest.mark.parametrize(
    "lost",
    ["DELETE FROM deliveries", "DELETE FROM sessions", "UPDATE deliveries SET message = 99", "DELETE FROM messages"],
)
async def test_strays(new_parts: Callable[..., Parts], parts: Parts, tmp_path: Path, lost: str) -> None:
    """What nothing refers to, and what refers to nothing, is deleted at the start."""
    _left(parts, "a", "x")
    parts.publish("x", b"stray", 1)
    await parts.settle()
    parts.store.note(lost)
    await parts.close()
    after = new_parts()
    assert _stored(tmp_path) == []
    assert _count(tmp_path, "deliveries") == 0
    after.restore()
    assert all(not session.queue for session in after.sessions)


async def test_owed_keeps_its_place(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """After a restart, an older retained value isn't sent after a newer one that waits, nor a newer one before it."""
    _left(parts, "a", "other")
    parts.publish("other", b"before", 1)
    parts.retain("x", b"1", qos=1)
    sink, opened = parts.open(principal("a"))
    sink.take()
    sink.is_paused = True
    parts.sessions.subscribe(opened.session, "x", SubscriptionOptions(1))
    sink.close(Reason.CONNECTION_LOST)
    parts.publish("x", b"2", 1)
    await parts.close()

    after = new_parts()
    after.restore()
    sink, _ = after.open(principal("a"))
    assert [(got.payload, got.retain) for got in sink.take()] == [(b"before", False), (b"1", True), (b"2", False)]


async def test_owed_was_replaced(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """A retained value that is newer than the subscription waits as what it is, and isn't sent twice."""
    parts.retain("x", b"1", qos=1)
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, "x", SubscriptionOptions(1))
    sink.close(Reason.CONNECTION_LOST)
    for payload in (b"2", b"3"):
        parts.retain("x", payload, qos=1)
    await parts.close()

    after = new_parts()
    after.restore()
    (session,) = after.sessions
    assert isinstance(session.queue[0], RetainedReplay)
    sink, _ = after.open(principal("a"))
    assert [(got.payload, got.retain) for got in sink.take()] == [(b"2", False), (b"3", False)]


async def test_owed_after_two_restarts(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """What is published after a restart counts as newer than the subscription, whatever was deleted meanwhile."""
    parts.retain("x", b"1", qos=1)
    parts.retain("y", b"1", qos=1)
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, "y", SubscriptionOptions(1))
    sink.close(Reason.CONNECTION_LOST)
    for topic in ("x", "y"):
        parts.store.drop_retained(topic, parts.retained.drop(topic))
    await parts.close()
    for payload in (b"2", b"3"):
        parts = new_parts()
        parts.restore()
        parts.retain("y", payload, qos=1)
        await parts.close()
    last = new_parts()
    last.restore()
    sink, _ = last.open(principal("a"))
    assert [(got.payload, got.retain) for got in sink.take()] == [(b"2", False), (b"3", False)]
