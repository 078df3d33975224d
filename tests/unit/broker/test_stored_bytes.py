"""How many bytes the store holds: what it counts is what the file grows by, and the write-ahead log shrinks again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.message import OutboundMessage
from fleetkey.broker.retained import RetainedMessage
from fleetkey.broker.store import BrokerStore
from fleetkey.broker.store.schema import MAX_LOG_BYTES
from tests.unit.broker.rig import Parts, message, principal, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_ABOVE = 1.3
ROWS_SO_FAR = 2**23
"""Rows that were numbered before: from here on, a number takes four bytes."""
OWNER = "0123456789abcdef01234567"


class Growth:
    """A store that a test fills, over a file of which it knows how large it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        BrokerStore(path)._connection.close()
        self._before = path.stat().st_size
        self.store = BrokerStore(path)
        self.store._rows = dict.fromkeys(self.store._rows, ROWS_SO_FAR)
        self.store._sent = ROWS_SO_FAR
        self.chance = random.Random(7)
        self.session = session_of("one", OWNER)
        self.session.row = ROWS_SO_FAR
        self._shared = message("t")

    def fill(self, kind: str) -> None:
        """Add one row of a kind."""
        name, _, size = kind.partition("-")
        getattr(self, name)(int(size or 0))

    def message(self, size: int) -> None:
        """Add a message."""
        self.store._refer(message(f"devices/{OWNER}/state", bytes(size), 1, OWNER))

    def mixed(self, _: int) -> None:
        """Add a message of any size."""
        self.message(self.chance.choice((10, 200, 1_500, 3_000, 6_000)))

    def delivery(self, _: int) -> None:
        """Add a delivery of a message that is there, to any session, and send it."""
        outgoing = OutboundMessage(self._shared, 1)
        self._shared.references, self._shared.row = 1, ROWS_SO_FAR
        self.session.row = ROWS_SO_FAR + self.chance.randrange(1_000)
        outgoing.packet_id = self.chance.randrange(1, 65_536)
        self.store.add_delivery(self.session, outgoing)
        self.store.mark_sent(self.session, outgoing)

    def added(self, size: int) -> None:
        """Add a session whose client is away."""
        session = session_of(f"{self.chance.getrandbits(4 * size):x}", OWNER)
        session.expires_at = 1.7e9 + self.chance.random()
        self.store.add_session(session)

    def subscription(self, size: int) -> None:
        """Add a subscription of any session."""
        self.session.row = ROWS_SO_FAR + self.chance.randrange(1_000)
        topic_filter = f"{self.chance.getrandbits(4 * size):x}"
        self.store.add_subscription(self.session, topic_filter, SubscriptionOptions(1), is_replay_due=True)

    def retained(self, size: int) -> None:
        """Retain a message that is there."""
        kept = RetainedMessage(message=message(f"{self.chance.getrandbits(4 * size):x}"))
        kept.message.references, kept.message.row = 1, ROWS_SO_FAR + self.chance.randrange(1_000)
        self.store.keep_retained(kept, None)

    def inbound(self, _: int) -> None:
        """Add a packet id of any session."""
        self.session.row = ROWS_SO_FAR + self.chance.randrange(10_000)
        self.store.add_inbound(self.session, self.chance.randrange(1, 65_536))

    async def bytes(self) -> int:
        """Return by how many bytes the file grew; closing it copies the log into it."""
        await self.store.close()
        return self.path.stat().st_size - self._before


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *((f"message-{size}", 4_000) for size in (0, 10, 100, 300, 900)),
        *((f"message-{size}", 500) for size in (1_200, 2_100, 3_900, 4_000, 5_000, 20_000)),
        ("message-250000", 40),
        ("mixed", 1_000),
        ("delivery", 10_000),
        *((f"added-{size}", 5_000) for size in (16, 24, 64)),
        *((f"subscription-{size}", 5_000) for size in (16, 40, 200)),
        *((f"retained-{size}", 5_000) for size in (16, 40, 200)),
        ("inbound", 10_000),
    ],
)
async def test_growth(tmp_path: Path, kind: str, count: int) -> None:
    """The file never grows by more than what is counted, nor by less than what is counted over 1.3."""
    growth = Growth(tmp_path / "broker.db")
    for _ in range(count):
        growth.fill(kind)
    counted = growth.store.stored_bytes
    grown = await growth.bytes()
    assert grown <= counted <= MOST_ABOVE * grown


async def test_running(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """The running number is what a restart finds, whatever happened; nothing is left of it when all is gone."""
    chance = random.Random(7)
    sinks = [parts.join(f"c{number}", "a/#", f"b/{number}", qos=2)[0] for number in range(5)]
    for number in range(400):
        sink = chance.choice(sinks)
        session = parts.sessions.get(sinks[0].principal.owner if sink.session is None else sink.session.client_id)  # type: ignore[union-attr] # it has one
        assert session is not None
        topic = chance.choice(("a/1", "a/2", "b/1", f"b/{number}"))
        parts.publish(topic, bytes(chance.randrange(3_000)), chance.randrange(3))
        if chance.random() < 0.3:
            parts.retain(topic, bytes(chance.randrange(300)), 1)
        if chance.random() < 0.1:
            parts.store.drop_retained(topic, parts.retained.drop(topic))
        if chance.random() < 0.2:
            parts.sessions.subscribe(session, topic, SubscriptionOptions(chance.randrange(3)))
        if chance.random() < 0.2:
            parts.sessions.remove_subscription(session, topic)
        for got in sink.take():
            if chance.random() < 0.5:
                parts.delivery.acknowledged(session, got.number)
            else:
                parts.delivery.received(session, got.number)
                parts.delivery.completed(session, got.number)
        if chance.random() < 0.1:
            session.inbound[number] = 0
            parts.store.add_inbound(session, number)
        if number % 50 == 0:
            await parts.settle()
    await parts.settle()
    counted = parts.store.stored_bytes
    assert counted == parts.store.load().bytes > 0
    sinks[0].close(Reason.CONNECTION_LOST)
    await parts.close()

    after = new_parts()
    after.restore()
    assert after.store.stored_bytes == counted
    for session in list(after.sessions):
        after.sessions.drop(session)
        after.sessions.drop(session)
    for topic in list(after.retained.all()):
        after.store.drop_retained(topic, after.retained.drop(topic))
    after.loop.settle()
    assert after.store.stored_bytes == 0
    await after.settle()
    assert after.store.load().bytes == 0


async def test_log_shrinks(parts: Parts, tmp_path: Path) -> None:
    """What a large commit takes in the write-ahead log is given back."""
    sink, _ = parts.join("away", "#", qos=1)
    sink.close(Reason.CLIENT_DISCONNECTED)
    for number in range(16):
        parts.retain(f"large/{number}", bytes(1024 * 1024))
    await parts.settle()
    log = tmp_path / "broker.db-wal"
    assert log.stat().st_size > 2 * MAX_LOG_BYTES
    for number in range(3):
        parts.retain("small", b"%d" % number)
        await parts.settle()
    assert log.stat().st_size <= MAX_LOG_BYTES
    assert parts.open(principal("away"))[1].is_present
