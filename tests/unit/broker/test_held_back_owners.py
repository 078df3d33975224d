"""Owners that are held back: whose connections wait, and that each has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.held_back import RESUMED_PER_TICK, HeldBackConnections
from fleetkey.broker.packet_turns import PACKETS_PER_TURN
from fleetkey.config import LimitSettings
from tests.support import packets as wire
from tests.unit.broker.connection_rig import PINGREQ, Rig
from tests.unit.broker.rig import Parts, principal

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


class Waiting:
    """A connection."""

    def __init__(self, held_back: HeldBackConnections) -> None:
        self.held_back = held_back
        self.turns = 0

    def resume_for_a_turn(self) -> None:
        """Have a turn, and wait again."""
        self.turns += 1
        self.held_back.wait(self)


async def test_each_has_its_turn(parts: Parts) -> None:
    """Of those that wait, so many have a turn per tick, in order."""
    room = HeldBackConnections(parts.accounts, parts.sessions)
    connections = [Waiting(room) for _ in range(2 * RESUMED_PER_TICK)]
    for connection in connections:
        room.wait(connection)
    for tick in range(1, 5):
        room.look(0.0)
        assert sum(connection.turns for connection in connections) == tick * RESUMED_PER_TICK
    assert {connection.turns for connection in connections} == {2}
    room.discard(connections[0])
    assert len(room) == len(connections) - 1


async def test_largest_owner(tmp_path: Path) -> None:
    """While memory is scarce, the largest owner's packets wait, and all are handled in the end; others' don't."""
    parts = Parts(tmp_path, budgets=LimitSettings(memory=128 * MIB))
    large, small = Rig(parts, principal("large")), Rig(parts, principal("small"))
    client, other = large.connect(client_id="large"), small.connect(client_id="small")
    parts.loop.settle()
    room = client.connection._parts.held_back
    parts.accounts.memory_of("large").charge_anyway("messages", 100 * MIB)
    room.look(0.0)
    sink, _ = parts.join("receiver", "x")
    client.send(wire.publish("x", b"1") * 100)
    other.send(wire.publish("x", b"2") * 3)
    parts.loop.settle()
    heard = sink.payloads()
    assert heard.count(b"2") == 3
    assert heard.count(b"1") <= PACKETS_PER_TURN
    assert not client.connection._is_reading
    while heard.count(b"1") < 100:
        room.look(0.0)
        parts.loop.settle()
        more = sink.payloads()
        assert 0 < len(more) <= PACKETS_PER_TURN
        heard += more
    # One that sends little at a time is still read, and answered.
    room.look(0.0)
    client.send(PINGREQ)
    parts.loop.settle()
    assert client.kinds()[-1] == wire.Kind.PINGRESP
    room.look(0.0)
    client.send(PINGREQ)
    parts.loop.settle()
    assert client.kinds()[-2:] == [wire.Kind.PINGRESP] * 2
    parts.accounts.memory_of("large").release("messages", 100 * MIB)
    room.look(0.0)
    room.look(0.0)
    parts.loop.settle()
    assert client.connection._is_reading
    await parts.close()
