"""What owners are charged is what the broker keeps for them, whatever happens."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.retained import RetainedMessage
from fleetkey.config import LimitSettings
from tests.unit.broker.rig import Parts, message, principal

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.broker.session import Session
    from tests.unit.broker.rig import Sink

OWNERS = ("key-1", "key-2", f"{1:024x}")
TOPICS = ("a", "a/b", "a/b/c", "x/y")
FILTERS = ("#", "a/#", "+/b", "a/b/c", "x/+")


class Story:
    """Clients that do this and that."""

    def __init__(self, parts: Parts, seed: int) -> None:
        self.parts, self.random = parts, random.Random(seed)
        self.sinks: dict[str, Sink] = {}

    def step(self) -> None:
        """Let something happen."""
        owner = self.random.choice(OWNERS)
        client_id = owner if len(owner) == 24 else f"{owner}-{self.random.randrange(3)}"
        session = self.parts.sessions.get(client_id)
        step = self.random.randrange(12)
        if step == 0:
            sink, _ = self.parts.open(principal(owner), client_id=client_id, clean=self.random.random() < 0.3)
            self.sinks[client_id] = sink
        elif step in (1, 2, 3):
            size = self.random.choice((0, 10, 3_000))
            self.parts.publish(self.random.choice(TOPICS), bytes(size), self.random.randrange(3))
        elif step == 4:
            topic, size = self.random.choice(TOPICS), self.random.choice((1, 10, 3_000))
            published = message(topic, bytes(size), 1, owner)
            self.parts.retained.keep(RetainedMessage(message=published))
            self.parts.router.publish(published)
        elif step == 5:
            self.parts.retained.drop(self.random.choice(TOPICS))
        elif session is not None:
            self._of_session(step, session)
        if self.random.random() < 0.3:
            self.parts.loop.settle()

    def _of_session(self, step: int, session: Session) -> None:
        if step in (6, 7):
            options = SubscriptionOptions(self.random.randrange(3))
            self.parts.sessions.subscribe(session, self.random.choice(FILTERS), options)
        elif step == 8:
            self.parts.sessions.remove_subscription(session, self.random.choice(FILTERS))
        elif step == 9 and session.connection is not None:
            session.connection.close(Reason.CONNECTION_LOST)
        elif step == 10 and session.inflight:
            packet_id, outgoing = next(iter(session.inflight.items()))
            if outgoing.qos == 1:
                self.parts.delivery.acknowledged(session, packet_id)
            elif outgoing.is_sent:
                self.parts.delivery.received(session, packet_id)
                self.parts.delivery.completed(session, packet_id)
        elif step == 11 and self.random.random() < 0.2:
            self.end(session)

    def end(self, session: Session) -> None:
        """End a session, as the deletion of its owner does."""
        if session.connection is not None:
            session.connection.close(Reason.DELETED)
        self.parts.sessions.drop(session)


def _held(parts: Parts) -> Counter[str]:
    """Return whose queues hold something, and how many messages."""
    return Counter(
        session.owner for session in parts.sessions for _ in range(session.queued_messages + len(session.inflight))
    )


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_left(tmp_path: Path, seed: int) -> None:
    """When all sessions have ended and all retained messages are gone, nothing is charged to anybody."""
    parts = Parts(tmp_path)
    story = Story(parts, seed)
    for _ in range(300):
        story.step()
        for account in (parts.accounts.memory, parts.accounts.disk):
            assert all(size >= 0 for size in account.kinds.values())
    await parts.settle()
    parts.loop.settle()
    held = _held(parts)
    assert bool(parts.accounts.memory.kinds["messages"]) is bool(held)
    for session in list(parts.sessions):
        story.end(session)
    for topic in TOPICS:
        parts.retained.drop(topic)
    parts.loop.settle()
    for budget in (parts.accounts.memory, parts.accounts.disk):
        assert budget.charged == 0
        assert len(budget) == 0
        assert not any(budget.kinds.values())
    await parts.close()


@pytest.mark.parametrize("seed", range(10))
async def test_same_after_a_restart(tmp_path: Path, seed: int) -> None:
    """What is charged for what was stored is the same after a restart."""
    parts = Parts(tmp_path)
    story = Story(parts, seed)
    for _ in range(300):
        story.step()
    for session in list(parts.sessions):
        if session.connection is not None:
            session.connection.close(Reason.SERVER_SHUTTING_DOWN)
    for topic in TOPICS:
        parts.retained.drop(topic)
    parts.loop.settle()
    await parts.close()
    again = Parts(tmp_path)
    again.sessions.restore(again.store.load().sessions)
    assert again.accounts.disk.charged == parts.accounts.disk.charged
    assert +again.accounts.disk.kinds == +parts.accounts.disk.kinds
    await again.close()


async def test_shares(tmp_path: Path) -> None:
    """At its share, an owner's sessions get no more messages, and others' do."""
    parts = Parts(tmp_path, budgets=LimitSettings(memory_per_application=2**20), max_queued_bytes=10 * 2**20)
    sinks = [parts.join("key-1", "a", qos=1), parts.join("key-2", "a", qos=1)]
    for sink, _ in sinks:
        sink.close(Reason.CONNECTION_LOST)
    key_1, key_2 = (session for _, session in sinks)
    for _ in range(100):
        parts.publish("a", bytes(20_000), 1)
    assert 40 < key_1.queued_messages == key_2.queued_messages < 52
    assert parts.accounts.memory_of("key-1").used <= 2**20
    assert parts.counters.bounds["memory_per_application"] == 2 * (100 - key_1.queued_messages)
    other, session = parts.join("key-3", "a", qos=1)
    parts.publish("a", bytes(20_000), 1)
    assert len(session.inflight) == 1
    assert other.payloads() == [bytes(20_000)]
    await parts.close()


async def test_shared_payload(tmp_path: Path) -> None:
    """A message that many sessions of one owner wait for is charged once to it; to another owner in full as well."""
    parts = Parts(tmp_path)
    for number in range(50):
        sink, opened = parts.open(principal("key-1"), client_id=f"key-1-{number}")
        parts.sessions.subscribe(opened.session, "a", SubscriptionOptions(1))
        sink.close(Reason.CONNECTION_LOST)
    sink, _ = parts.join("key-2", "a", qos=1)
    sink.close(Reason.CONNECTION_LOST)
    before = parts.accounts.memory.charged, parts.accounts.memory_of("key-1").used
    parts.publish("a", bytes(100_000), 1)
    parts.loop.settle()
    total, of_key = parts.accounts.memory.charged - before[0], parts.accounts.memory_of("key-1").used - before[1]
    assert 100_000 < of_key < 130_000
    assert 100_000 < total < 130_000
    assert parts.accounts.memory_of("key-2").used > 100_000
    await parts.close()
