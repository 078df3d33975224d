"""Calls at given times: never early, with one timer, a few per turn of the loop."""

from __future__ import annotations

import pytest

from fleetkey.broker.timed_queue import CALLS_PER_TURN, SLOT_SECONDS, TimedQueue
from tests.unit.broker.rig import Loop


class Rig:
    """A queue on a loop that the test turns."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.loop.now = 1_000.001
        self.called: list[tuple[str, float]] = []
        self.queue: TimedQueue[str] = TimedQueue(self.call, self.loop.as_loop())

    def call(self, item: str) -> None:
        """Note a call, and when it was made."""
        self.called.append((item, self.loop.now))

    def run(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        for _ in range(round(seconds / SLOT_SECONDS)):
            self.loop.now += SLOT_SECONDS
            self.loop.tick()
            self.loop.settle()


@pytest.fixture
def rig() -> Rig:
    """Return an empty queue."""
    return Rig()


def test_due(rig: Rig) -> None:
    """Each is called once, in order, when it is due or a little later; one timer is enough, and it ends with them."""
    began = rig.loop.now
    for item, seconds in (("late", 0.5), ("now", 0.0), ("soon", 0.1), ("much later", 300.0)):
        rig.queue.add(item, began + seconds)
        assert len(rig.loop.timers) == 1
    rig.run(1)
    assert [item for item, _ in rig.called] == ["now", "soon", "late"]
    for (_, at), seconds in zip(rig.called, (0.0, 0.1, 0.5), strict=True):
        assert began + seconds <= at <= began + seconds + 2 * SLOT_SECONDS + 1e-6
    assert (len(rig.queue), len(rig.loop.timers)) == (1, 1)
    rig.run(300)
    assert rig.called[-1][0] == "much later"
    assert (len(rig.queue), len(rig.loop.timers)) == (0, 0)
    rig.queue.add("again", rig.loop.now + 0.1)
    rig.run(0.2)
    assert rig.called[-1][0] == "again"


def test_discard(rig: Rig) -> None:
    """Who is discarded isn't called, and leaves nothing behind; who is added again is called at the later time."""
    for _ in range(1_000):
        rig.queue.add("gone", rig.loop.now + 300)
        rig.queue.discard("gone")
    rig.queue.discard("never there")
    assert (len(rig.queue), rig.queue._slots) == (0, {})
    rig.queue.add("moved", rig.loop.now + 0.1)
    rig.queue.add("moved", rig.loop.now + 0.5)
    rig.run(0.3)
    assert rig.called == []
    rig.run(0.3)
    assert [item for item, _ in rig.called] == ["moved"]


def test_turns(rig: Rig) -> None:
    """Many that are due together are called a few per turn; who is discarded while it waits for its turn isn't."""
    for number in range(3 * CALLS_PER_TURN):
        rig.queue.add(str(number), rig.loop.now)
    rig.loop.now += 2 * SLOT_SECONDS
    rig.loop.tick()
    assert len(rig.called) == CALLS_PER_TURN
    gone, again = str(2 * CALLS_PER_TURN), str(2 * CALLS_PER_TURN + 1)
    rig.queue.discard(gone)
    rig.queue.add(again, rig.loop.now + 1)
    rig.loop.turn()
    assert len(rig.called) == 2 * CALLS_PER_TURN
    rig.loop.settle()
    assert len(rig.called) == 3 * CALLS_PER_TURN - 2
    assert len(rig.queue) == 1
    rig.run(1.1)
    assert [item for item, _ in rig.called][-1] == again
