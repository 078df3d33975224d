"""A turn of the event loop divided among all connections that sent several packets."""

from __future__ import annotations

from functools import partial

from fleetkey.broker.packet_turns import (
    PACKETS_OF_ONE_OWNER,
    PACKETS_PER_LOOP_TURN,
    PACKETS_PER_TURN,
    PacketTurns,
)
from tests.unit.broker.rig import Loop

FLOODERS = 100


class Flooder:
    """A connection that always has more packets."""

    def __init__(self, turns: PacketTurns, owner: str = "") -> None:
        self.turns = turns
        self.owner = owner
        self.handled = 0

    def handle(self) -> None:
        """Handle as many as it may, and wait for the next turn."""
        share = self.turns.share(self.owner)
        self.handled += share
        self.turns.used(share, self.owner)
        self.turns.wait(self.owner, self.handle)


def test_many_flooders() -> None:
    """However many there are, a turn of the loop has so many packets of all together, and each has its turn."""
    loop = Loop()
    turns = PacketTurns(loop.as_loop())
    flooders = [Flooder(turns) for _ in range(FLOODERS)]
    for flooder in flooders:
        flooder.handle()
    # What each sent is handled at once up to its share; when the turn's are used up, one of each.
    assert sum(flooder.handled for flooder in flooders) <= PACKETS_PER_LOOP_TURN + FLOODERS
    before = sum(flooder.handled for flooder in flooders)
    turned = 0
    while min(flooder.handled for flooder in flooders) < 100:
        loop.turn()
        turned += 1
        after = sum(flooder.handled for flooder in flooders)
        assert after - before <= PACKETS_PER_LOOP_TURN + PACKETS_PER_TURN
        before = after
    most = max(flooder.handled for flooder in flooders)
    assert most <= 100 + 3 * PACKETS_PER_TURN
    assert turned <= 2 + most * FLOODERS // PACKETS_PER_LOOP_TURN


def test_first_packet_at_once() -> None:
    """A connection's first packet is handled in the turn in which it arrives, whatever others do in it."""
    loop = Loop()
    turns = PacketTurns(loop.as_loop())
    assert turns.share() == PACKETS_PER_TURN
    assert not turns.used(10 * PACKETS_PER_LOOP_TURN)
    assert turns.share() == 1
    loop.turn()
    assert turns.share() == PACKETS_PER_TURN
    assert not loop.due


def test_one_owner_with_many() -> None:
    """An owner's connections have one part of a turn together, however many they are, and others go on beside them."""
    loop = Loop()
    turns = PacketTurns(loop.as_loop())
    flooders = [Flooder(turns, "key") for _ in range(FLOODERS)]
    other = Flooder(turns, "other")
    for flooder in [*flooders, other]:
        flooder.handle()
    before = sum(flooder.handled for flooder in flooders)
    assert before == PACKETS_OF_ONE_OWNER
    for number in range(1, 20):
        loop.turn()
        after = sum(flooder.handled for flooder in flooders)
        assert after - before <= PACKETS_OF_ONE_OWNER
        before = after
        assert other.handled >= number * PACKETS_PER_TURN


def test_short_before_long() -> None:
    """Who waits with a little has its turn soon, however many wait with a lot; these go on too."""
    loop = Loop()
    turns = PacketTurns(loop.as_loop())
    flooders = [Flooder(turns, f"owner-{number}") for number in range(FLOODERS)]
    for flooder in flooders:
        flooder.handle()
    handled: list[int] = []
    for turn in range(10):
        turns.wait("small", partial(handled.append, turn), 100)
        before = sum(flooder.handled for flooder in flooders)
        loop.turn()
        assert handled == list(range(turn + 1))
        assert sum(flooder.handled for flooder in flooders) > before


def test_long_beside_short() -> None:
    """However many wait with a little, those with a lot go on."""
    loop = Loop()
    turns = PacketTurns(loop.as_loop())

    def again(owner: str) -> None:
        turns.used(PACKETS_PER_TURN)
        turns.wait(owner, partial(again, owner), 100)

    for number in range(FLOODERS):
        turns.wait(f"short-{number}", partial(again, f"short-{number}"), 100)
    flooder = Flooder(turns, "long")
    flooder.handle()
    before = flooder.handled
    for _ in range(10):
        loop.turn()
    assert flooder.handled >= before + 10 * PACKETS_PER_TURN
