"""PUBLISH with a QoS or the retain flag: what is kept, passed on once, and what the acknowledgement waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Kind, MalformedPacketError, Reason
from fleetkey.broker.delivery import UNITS_PER_SEND
from fleetkey.broker.work import WORK_PER_TURN
from tests.unit.broker.rig import Parts, Sink, message

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.session import Session

TOPIC = "x"


class Rig:
    """A handler over parts, a client that sends, and one that receives and isn't stored."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.handler = parts.publisher
        self.sender, self.session = parts.join("sender")
        self.receiver, _ = parts.join("receiver", TOPIC, qos=2, clean=True)

    def send(
        self,
        payload: bytes = b"x",
        *,
        qos: int = 0,
        packet_id: int = 1,
        retain: bool = False,
        is_allowed: bool = True,
        sender: tuple[Sink, Session] | None = None,
    ) -> None:
        """Let the client send a message, or another client."""
        sink, session = sender or (self.sender, self.session)
        route = self.parts.router.resolve(TOPIC.encode(), TOPIC) if is_allowed else None
        self.handler.take(
            sink, session, route, message(TOPIC, payload, qos, session.owner), packet_id, is_retained=retain
        )

    def waits(self) -> list[bool]:
        """Return for each acknowledgement since the last time whether it still waits for the store."""
        acknowledged, self.sender.acknowledged = self.sender.acknowledged, []
        return [position > self.parts.store.committed for _, position in acknowledged]


@pytest.fixture
async def rig(parts: Parts) -> Rig:
    """Return a rig in which nothing waits for the store."""
    rig = Rig(parts)
    await parts.settle()
    return rig


@pytest.mark.parametrize(
    ("qos", "kind"), [pytest.param(1, Kind.PUBACK, id="qos_1"), pytest.param(2, Kind.PUBREC, id="qos_2")]
)
@pytest.mark.parametrize("is_allowed", [True, False])
async def test_acknowledged(rig: Rig, qos: int, kind: Kind, *, is_allowed: bool) -> None:
    """Both are acknowledged alike, whether the client may publish there or not (3.3.5-2)."""
    rig.send(qos=qos, packet_id=0x0102, is_allowed=is_allowed)
    assert [packet for packet, _ in rig.sender.acknowledged] == [bytes([kind << 4, 2, 1, 2])]
    assert len(rig.receiver.take()) == int(is_allowed)
    assert bool(rig.session.inbound) is (qos == 2 and is_allowed)


async def test_qos_0_not_acknowledged(rig: Rig) -> None:
    """A retained message of QoS 0 has no answer."""
    rig.send(retain=True)
    assert rig.sender.acknowledged == []
    assert len(rig.receiver.take()) == 1


async def test_nothing_to_store(rig: Rig) -> None:
    """A message that nobody has to keep waits for nothing."""
    rig.send(qos=1)
    assert rig.waits() == [False]


async def test_stored_for_receiver(rig: Rig) -> None:
    """One for a session that is kept is acknowledged when it is stored."""
    kept, _ = rig.parts.join("kept", TOPIC, qos=1)
    kept.close(Reason.CONNECTION_LOST)
    await rig.parts.settle()
    rig.send(qos=1)
    assert rig.sender.acknowledged[0].position == rig.parts.store.position
    assert rig.waits() == [True]


async def test_qos_2_duplicates(rig: Rig) -> None:
    """However often it comes before it is released, it goes on once, and each answer waits for the same commit."""
    for _ in range(3):
        rig.send(qos=2)
    assert rig.waits() == [True] * 3
    await rig.parts.settle()
    rig.send(qos=2)
    assert rig.waits() == [False]
    assert len(rig.receiver.take()) == 1


async def test_qos_2_duplicates_while_store_fails(rig: Rig) -> None:
    """Also when its sender comes back meanwhile, because it wasn't acknowledged."""
    with rig.parts.failing():
        rig.send(qos=2)
        assert not await rig.parts.commit()
        rig.sender.close(Reason.NOT_STORED)
        rig.sender, opened = rig.parts.open(rig.sender.principal)  # type: ignore[arg-type] # it has one
        assert opened.session is rig.session
        rig.send(qos=2)
        assert rig.waits() == [True]
    await rig.parts.settle()
    rig.send(qos=2)
    assert rig.waits() == [False]
    assert len(rig.receiver.take()) == 1


async def test_qos_2_bound(new_parts: Callable[..., Parts]) -> None:
    """One more than may wait for their release closes the connection before it goes anywhere."""
    rig = Rig(new_parts(max_unreleased=2))
    for packet_id in (1, 2):
        rig.send(qos=2, packet_id=packet_id)
    with pytest.raises(MalformedPacketError):
        rig.send(qos=2, packet_id=3)
    rig.send(qos=2, packet_id=2)
    assert len(rig.receiver.take()) == 2
    assert list(rig.session.inbound) == [1, 2]
    assert rig.parts.counters.bounds == {"max_unreleased": 1}


async def test_retain(rig: Rig) -> None:
    """The last message is kept, for its sender's owner; an empty one ends that, and is passed on as well."""
    for payload in (b"first", b"second"):
        rig.send(payload, qos=1, retain=True)
    kept = rig.parts.retained.get(TOPIC)
    assert kept is not None
    assert (kept.payload, kept.qos, kept.owner) == (b"second", 1, "sender")
    assert rig.waits() == [True, True]
    await rig.parts.settle()
    (stored,) = rig.parts.store.load().retained
    assert (stored.topic, stored.payload, stored.qos, stored.owner) == (TOPIC, b"second", 1, "sender")
    rig.send(b"", qos=1, retain=True)
    assert rig.waits() == [True]
    await rig.parts.settle()
    assert rig.parts.store.load().retained == []
    assert rig.receiver.payloads() == [b"first", b"second", b""]


async def test_retain_cleared_again_while_store_fails(rig: Rig) -> None:
    """That a topic was cleared isn't acknowledged before it is stored, however often it is tried."""
    rig.send(b"kept", qos=1, retain=True)
    await rig.parts.settle()
    rig.waits()
    with rig.parts.failing():
        for _ in range(2):
            rig.send(b"", qos=1, retain=True)
            assert not await rig.parts.commit()
        assert rig.waits() == [True, True]
    await rig.parts.settle()
    rig.send(b"", qos=1, retain=True)
    assert rig.waits() == [False]


async def test_retain_of_the_broker(rig: Rig) -> None:
    """What the broker says of itself is said anew after a restart, so it isn't stored."""
    before = rig.parts.store.position
    for payload in (b"1", b""):
        rig.handler.retain(message("$SYS/x", payload))
    assert rig.parts.store.position == before


async def test_retain_at_bound(new_parts: Callable[..., Parts]) -> None:
    """What isn't retained is passed on; nothing of it is stored."""
    rig = Rig(new_parts(max_retained=1))
    rig.parts.publish(TOPIC)
    rig.handler.retain(message("first", owner="sender"))
    before = rig.parts.store.position
    rig.send(retain=True)
    assert rig.parts.retained.get(TOPIC) is None
    assert rig.parts.store.position == before
    assert len(rig.receiver.take()) == 2
    assert rig.parts.counters.bounds == {"max_retained": 1}


MANY = 2 * WORK_PER_TURN


@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledged_after_the_last_receiver(rig: Rig, qos: int) -> None:
    """However many turns it takes: the answer waits for the last of them, and for the store to have all of it."""
    for number in range(MANY // UNITS_PER_SEND):
        rig.parts.sessions.leave(rig.parts.join(f"kept {number}", TOPIC, qos=qos)[1])
    rig.parts.loop.settle()
    await rig.parts.settle()
    rig.send(qos=qos, retain=True)
    turns = 0
    while rig.sender.is_working:
        assert rig.sender.acknowledged == []
        rig.parts.loop.turn()
        turns += 1
    assert turns >= 2
    assert [position for _, position in rig.sender.acknowledged] == [rig.parts.store.position]
    await rig.parts.settle()
    stored = rig.parts.store._connection.execute("SELECT count(*) FROM deliveries").fetchone()
    assert stored == (MANY // UNITS_PER_SEND,)


async def test_qos_2_duplicate_while_it_is_sent(rig: Rig) -> None:
    """One that comes with the client's next connection goes no further, and is answered after the last receiver."""
    for number in range(MANY // UNITS_PER_SEND):
        rig.parts.join(f"receiver {number}", TOPIC, qos=1, clean=True)
    rig.parts.loop.settle()
    rig.send(qos=2)
    assert rig.sender.is_working
    older = rig.sender
    older.close(Reason.CONNECTION_LOST)
    rig.sender, opened = rig.parts.open(older.principal)  # type: ignore[arg-type] # it has one
    assert opened.session is rig.session
    rig.send(qos=2)
    assert rig.sender.is_working
    assert rig.sender.acknowledged == []
    rig.parts.loop.settle()
    assert not rig.sender.is_working
    assert rig.waits() == [True]
    assert rig.session.inbound == {1: rig.parts.store.position}
    assert len(rig.receiver.take()) == 1
    assert rig.handler._unsent == {}


async def test_qos_2_released_while_it_is_sent(rig: Rig) -> None:
    """An identifier that was released too early isn't remembered again."""
    for number in range(MANY // UNITS_PER_SEND):
        rig.parts.join(f"receiver {number}", TOPIC, qos=1, clean=True)
    rig.parts.loop.settle()
    rig.send(qos=2)
    del rig.session.inbound[1]
    rig.parts.loop.settle()
    assert rig.session.inbound == {}
    assert len(rig.sender.acknowledged) == 1


async def test_sending_that_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sent it isn't acknowledged, but disconnected."""
    for number in range(MANY // UNITS_PER_SEND):
        rig.parts.join(f"receiver {number}", TOPIC, qos=1, clean=True)
    rig.parts.loop.settle()
    rig.send(qos=1)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(rig.parts.delivery, "offer", fail)
    with pytest.raises(RuntimeError):
        rig.parts.loop.settle()
    assert rig.sender.acknowledged == []
    assert rig.sender.closed == [Reason.NOT_STORED]


async def test_will_to_many(rig: Rig) -> None:
    """Nobody waits for a will; it is retained when it is sent."""
    for number in range(MANY // UNITS_PER_SEND):
        rig.parts.join(f"receiver {number}", TOPIC, clean=True)
    rig.parts.loop.settle()
    rig.handler.publish(message(TOPIC, b"will"), rig.sender, rig.session, is_retained=True)
    assert not rig.sender.is_working
    rig.parts.loop.settle()
    kept = rig.parts.retained.get(TOPIC)
    assert kept is not None
    assert kept.payload == b"will"
    assert rig.receiver.payloads() == [b"will"]
