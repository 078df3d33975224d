"""What happens at the end of a turn, in the next one, and at a tick; on a loop that the test turns by hand."""

from __future__ import annotations

import pytest

from fleetkey.broker.scheduler import LINGER_SECONDS, TICK_SECONDS, Scheduler
from tests.unit.broker.rig import Loop


class Stream:
    """Counts how often it is flushed, and may ask for it again then."""

    def __init__(self, scheduler: Scheduler, *, is_eager: bool = False) -> None:
        self.flushed = 0
        self._scheduler = scheduler
        self._is_eager = is_eager

    def flush(self) -> None:
        """Count."""
        self.flushed += 1
        if self._is_eager:
            self._scheduler.flush_soon(self)


@pytest.fixture
def loop() -> Loop:
    """Return the loop of `scheduler`."""
    return Loop()


@pytest.fixture
def scheduler(loop: Loop) -> Scheduler:
    """Return one that doesn't tick yet."""
    return Scheduler(loop.as_loop())


def test_flush_soon(scheduler: Scheduler, loop: Loop) -> None:
    """However many streams have something, one call of the loop flushes them; what comes by it is for the next turn."""
    streams = [Stream(scheduler), Stream(scheduler, is_eager=True)]
    for stream in streams:
        scheduler.flush_soon(stream)
    assert len(loop.due) == 1
    loop.turn()
    assert [stream.flushed for stream in streams] == [1, 1]
    loop.turn()
    assert [stream.flushed for stream in streams] == [1, 2]


def test_call_next_turn(scheduler: Scheduler, loop: Loop) -> None:
    """Not in this one."""
    called: list[tuple[int, str]] = []
    scheduler.call_next_turn(lambda *arguments: called.append(arguments), 1, "x")
    assert called == []
    loop.turn()
    assert called == [(1, "x")]


def test_tick(scheduler: Scheduler, loop: Loop) -> None:
    """Everyone is told the time, which is then `now`, and the next tick is due."""
    told: list[float] = []
    scheduler.start(told.append, told.append)
    loop.now = 7.0
    assert scheduler.now == 0.0
    assert scheduler.time() == 7.0
    loop.tick()
    assert told == [0.0, 0.0, 7.0, 7.0]
    assert scheduler.now == 7.0
    assert loop.timers[-1].delay == TICK_SECONDS


def test_stop(scheduler: Scheduler, loop: Loop) -> None:
    """No tick comes any more; stopping what never ticked is nothing."""
    scheduler.stop()
    scheduler.start()
    scheduler.stop()
    assert loop.timers == []


def test_linger(scheduler: Scheduler, loop: Loop) -> None:
    """Called at the first tick that comes late enough, in order."""
    called: list[str] = []
    scheduler.start()
    scheduler.linger(lambda: called.append("first"))
    loop.now = 1.0
    scheduler.linger(lambda: called.append("second"))
    loop.now = LINGER_SECONDS - 0.1
    loop.tick()
    assert called == []
    loop.now = LINGER_SECONDS
    loop.tick()
    assert called == ["first"]
    loop.now = LINGER_SECONDS + 1.0
    loop.tick()
    assert called == ["first", "second"]
