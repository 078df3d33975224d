"""Messages to many receivers on a real broker: their order, their acknowledgement, and what else goes on meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker import work
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.delivery import UNITS_PER_SEND
from fleetkey.broker.store import BrokerStore
from fleetkey.broker.store.group_commit import MAX_PENDING_NOTES
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_PIECE, WORK_PER_TURN
from tests.integration.broker.broker_rig import running
from tests.support.packets import Kind, Will, connect, number_of, publish, subscribe
from tests.support.streams import TcpStream
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.broker import FleetkeyBroker
    from fleetkey.broker.store.pending_notes import Note
    from tests.integration.auth_plugin.plain_broker import PlainBroker
    from tests.support.fleet import Credentials

SECONDS = 20
MANY = 8 * WORK_PER_TURN // UNITS_PER_SEND
MOST_PER_ROUND = 2 * (WORK_PER_TURN + WORK_AT_ONCE) // UNITS_PER_SEND
"""Receivers at most between two looks of a test, which may have two turns between them."""


MOST_PER_PIECE = max(WORK_AT_ONCE, WORK_PER_PIECE) // UNITS_PER_SEND


class Many:
    """A broker, a device that publishes, and many stored sessions that receive what it does."""

    def __init__(self, broker: PlainBroker, hosted: FleetkeyBroker, device: Credentials) -> None:
        self.broker = broker
        self.core = hosted.core
        self.device = device
        self.topic = device.topic("x")

    def queued(self) -> int:
        """Return how many messages wait in all sessions."""
        return sum(session.queued_messages for session in self.core.sessions)

    def log_in(self, client: Wire, will: Will | None = None) -> None:
        """Let the device in."""
        who = self.device
        client.log_in(connect(who.client_id, username=who.key, password=who.secret, will=will))

    async def fill(self) -> None:
        """Add the sessions."""
        for number in range(MANY):
            session = self.core.sessions.add(f"receiver {number}", "somebody", is_kept=True)
            self.core.sessions.add_subscription(session, self.topic, SubscriptionOptions(1))


@contextmanager
def _many(folder: Path) -> Iterator[Many]:
    with running(folder) as (broker, hosted):
        many = Many(broker, hosted, broker.device())
        asyncio.run_coroutine_threadsafe(many.fill(), many.core.scheduler.loop).result(SECONDS)
        yield many


def test_rounds(tmp_path: Path) -> None:
    """Each turn of the loop queues so many; the next message and the acknowledgement follow the last."""
    with _many(tmp_path) as many, Wire(TcpStream(many.broker.port)) as client:
        many.log_in(client)

        async def look() -> list[int]:
            seen = [many.queued()]
            async with asyncio.timeout(SECONDS):
                while seen[-1] < 2 * MANY:
                    await asyncio.sleep(0)
                    seen.append(many.queued())
            return seen

        looking = asyncio.run_coroutine_threadsafe(look(), many.core.scheduler.loop)
        client.send(publish(many.topic, b"1", qos=1, number=1) + publish(many.topic, b"2", qos=1, number=2))
        seen = looking.result(SECONDS)
        assert max(after - before for before, after in pairwise(seen)) <= MOST_PER_ROUND
        assert [number_of(client.receive(Kind.PUBACK)) for _ in range(2)] == [1, 2]
        for session in many.core.sessions:
            if session.owner == "somebody":
                assert [each.message.payload for each in session.queue] == [b"1", b"2"]  # type: ignore[union-attr]


def test_others_meanwhile(tmp_path: Path) -> None:
    """Another device hears its own messages while many messages to many receivers are sent."""
    with _many(tmp_path) as many, Wire(TcpStream(many.broker.port)) as client, Wire(TcpStream(many.broker.port)) as w:
        other = many.broker.device()
        w.log_in(connect(other.client_id, username=other.key, password=other.secret))
        w.subscribe(other.topic("y"))
        many.log_in(client)
        client.send(b"".join(publish(many.topic, b"%d" % number, qos=1, number=number + 1) for number in range(20)))
        for number in range(5):
            w.publish(other.topic("y"), b"%d" % number)
            assert [heard.payload for heard in w.hear()] == [b"%d" % number]
        assert many.queued() < 20 * MANY
        for number in range(20):
            assert number_of(client.receive(Kind.PUBACK)) == number + 1
        assert many.queued() == 20 * MANY


def test_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many receivers a message is stored for, no commit takes long; it is acknowledged after the last."""
    commits: list[int] = []
    commit = BrokerStore._commit

    def counting(self: BrokerStore, notes: list[Note]) -> None:
        commit(self, notes)
        commits.append(len(notes))

    with _many(tmp_path) as many, Wire(TcpStream(many.broker.port)) as client:
        many.log_in(client)
        assert eventually(lambda: many.core.parts.store.committed == many.core.parts.store.position)
        monkeypatch.setattr(BrokerStore, "_commit", counting)
        client.send(publish(many.topic, b"x", qos=1, number=1))
        assert number_of(client.receive(Kind.PUBACK)) == 1
        assert sum(commits) == MANY + 1
        assert max(commits) <= MAX_PENDING_NOTES + MOST_PER_PIECE


@pytest.mark.parametrize("is_will", [False, True])
def test_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_will: bool) -> None:
    """What is being sent when the broker stops is stored for everyone, and so is a will."""
    with _many(tmp_path) as many, Wire(TcpStream(many.broker.port)) as client:
        # So that it takes more turns than stopping would by itself.
        monkeypatch.setattr(work, "WORK_PER_TURN", 8)
        if is_will:
            many.log_in(client, Will(many.topic, b"last", 1))
        else:
            many.log_in(client)
            client.send(publish(many.topic, b"last", qos=1, number=1))
            while not many.queued():
                pass
    store = BrokerStore(tmp_path / "data" / "broker.db")
    stored = [delivery.message.payload for session in store.load().sessions for delivery in session.deliveries]
    asyncio.run(store.close())
    assert stored == [b"last"] * MANY


def test_publisher_that_disconnects(tmp_path: Path) -> None:
    """What it sent before goes to everyone; a client that takes over its session is let in meanwhile."""
    with _many(tmp_path) as many:
        with Wire(TcpStream(many.broker.port)) as client:
            many.log_in(client)
            client.send(publish(many.topic, b"x", qos=1, number=1))
        with Wire(TcpStream(many.broker.port)) as client:
            many.log_in(client)
            client.send(publish(many.topic, b"y", qos=1, number=1), subscribe(2, many.topic))
            client.receive(Kind.PUBACK)
            assert many.queued() == 2 * MANY
