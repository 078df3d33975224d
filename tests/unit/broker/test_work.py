"""Long work is cut into turns: counted in units, on a loop that the test turns by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_PIECE, WORK_PER_TURN, WorkQueue, filter_cost
from tests.unit.broker.rig import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Job:
    """Work of so many units, and how many of them are done."""

    def __init__(self, units: int, step: int = 1) -> None:
        self.done = 0
        self._units = units
        self._step = step

    def steps(self) -> Iterator[int]:
        """Do a step at a time."""
        while self.done < self._units:
            self.done += self._step
            yield self._step


def _queue() -> tuple[WorkQueue, Loop]:
    loop = Loop()
    return WorkQueue(loop.as_loop()), loop


def test_do_short_job() -> None:
    """What is little is done at once, and leaves nothing for later turns."""
    queue, loop = _queue()
    job = Job(WORK_AT_ONCE - 1)
    assert queue.do(job.steps())
    assert job.done == WORK_AT_ONCE - 1
    assert len(queue) == 0
    assert loop.settle() == 1


def test_do_long_job() -> None:
    """A turn takes no more of a job than it is granted, and the loop comes round in between until it is done."""
    queue, loop = _queue()
    job = Job(10 * WORK_PER_TURN)
    assert not queue.do(job.steps())
    assert job.done == WORK_AT_ONCE
    turns = 0
    while loop.due:
        before = job.done
        loop.turn()
        turns += 1
        assert job.done - before <= WORK_PER_TURN
    assert job.done == 10 * WORK_PER_TURN
    assert turns >= 9
    assert len(queue) == 0


def test_do_in_one_turn() -> None:
    """However many jobs are added in one turn, what is done of them at once is that turn's share together."""
    queue, loop = _queue()
    jobs = [Job(WORK_AT_ONCE - 1) for _ in range(40)]
    answers = [queue.do(job.steps()) for job in jobs]
    assert sum(job.done for job in jobs) <= WORK_PER_TURN
    assert answers == [job.done == WORK_AT_ONCE - 1 for job in jobs]
    while loop.due:
        before = sum(job.done for job in jobs)
        loop.turn()
        assert sum(job.done for job in jobs) - before <= WORK_PER_TURN
    assert all(job.done == WORK_AT_ONCE - 1 for job in jobs)
    assert queue.do(Job(WORK_AT_ONCE - 1).steps())


def test_do_many_jobs() -> None:
    """However many jobs there are, a turn does as much as it is granted, and each has its pieces in turn."""
    queue, loop = _queue()
    jobs = [Job(2 * WORK_PER_TURN) for _ in range(20)]
    for job in jobs:
        queue.do(job.steps())
    shares = []
    while loop.due:
        before = sum(job.done for job in jobs)
        loop.turn()
        shares.append(sum(job.done for job in jobs) - before)
        most, least = max(job.done for job in jobs), min(job.done for job in jobs)
        assert most - least <= WORK_AT_ONCE + WORK_PER_PIECE
    assert max(shares) <= WORK_PER_TURN
    assert all(job.done == 2 * WORK_PER_TURN for job in jobs)


def test_do_job_that_adds_one() -> None:
    """A job may add another, which has its turns as well."""
    queue, loop = _queue()
    inner = Job(3 * WORK_PER_TURN)

    def outer() -> Iterator[int]:
        yield WORK_AT_ONCE
        queue.do(inner.steps())
        yield WORK_PER_PIECE

    queue.do(outer())
    while loop.due:
        assert len(loop.due) == 1
        loop.turn()
    assert inner.done == 3 * WORK_PER_TURN


def test_filter_cost() -> None:
    """A filter costs what it is deep and long."""
    assert filter_cost("a") < filter_cost("a/" * 31 + "a") < filter_cost("a/" * 31 + "a" * 900)


def test_do_job_that_fails() -> None:
    """A job that fails by mistake is over; the others go on, and so do those that come later."""
    queue, loop = _queue()

    def failing() -> Iterator[int]:
        yield WORK_AT_ONCE
        raise RuntimeError

    others = [Job(2 * WORK_PER_TURN) for _ in range(2)]
    queue.do(others[0].steps())
    queue.do(failing())
    queue.do(others[1].steps())
    with pytest.raises(RuntimeError):
        loop.settle()
    loop.settle()
    later = Job(2 * WORK_PER_TURN)
    queue.do(later.steps())
    loop.settle()
    assert {job.done for job in [*others, later]} == {2 * WORK_PER_TURN}
    assert len(queue) == 0


class Store:
    """A store that is behind once so much was noted, until the test commits."""

    MOST = 100

    def __init__(self) -> None:
        self.position = self.committed = 0
        self.is_failing = False
        self._waiters: list[Callable[[bool], None]] = []

    @property
    def is_behind(self) -> bool:
        """Whether too much was noted since the last commit."""
        return self.is_failing or self.position - self.committed >= self.MOST

    def after_commit(self, callback: Callable[[bool], None]) -> None:
        """Keep a callback for the next commit."""
        self._waiters.append(callback)

    def commit(self) -> None:
        """Commit what was noted, or fail to."""
        if not self.is_failing:
            self.committed = self.position
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter(not self.is_failing)

    def noting(self, notes: list[str], name: str, count: int) -> Iterator[int]:
        """Return a job that notes so much, eight units each."""
        for _ in range(count):
            self.position += 1
            notes.append(name)
            yield 8


def _storing_queue() -> tuple[WorkQueue, Loop, Store]:
    loop, store = Loop(), Store()
    return WorkQueue(loop.as_loop(), store), loop, store


def test_do_job_that_stores() -> None:
    """One that notes more than the store can take goes on after the next commit; those that note nothing go on now."""
    queue, loop, store = _storing_queue()
    notes: list[str] = []
    assert not queue.do(store.noting(notes, "a", 10 * Store.MOST), "a")
    commits = 0
    while len(notes) < 10 * Store.MOST:
        loop.settle()
        other = Job(2 * WORK_PER_TURN)
        queue.do(other.steps(), "b")
        loop.settle()
        assert other.done == 2 * WORK_PER_TURN
        assert store.position - store.committed <= Store.MOST + WORK_PER_PIECE // 8
        store.commit()
        commits += 1
    assert commits >= 7
    loop.settle()
    assert len(queue) == 0


def test_do_jobs_that_store() -> None:
    """However many jobs one owner has, each commit has as much as one may, and its part of every owner's."""
    queue, loop, store = _storing_queue()
    notes: list[str] = []
    for number in range(40):
        queue.do(store.noting(notes, f"a{number:02}", Store.MOST), "a")
        loop.settle()
        assert len(notes) <= Store.MOST + WORK_AT_ONCE // 8
    store.commit()
    assert not queue.do(store.noting(notes, "b", Store.MOST), "b")
    for _ in range(4):
        before = len(notes)
        loop.settle()
        assert before < len(notes) <= before + Store.MOST + WORK_PER_PIECE // 8
        store.commit()
    assert notes.count("b") == Store.MOST
    while len(queue):
        loop.settle()
        store.commit()
    assert Counter(notes) == Counter({f"a{number:02}": Store.MOST for number in range(40)} | {"b": Store.MOST})


def test_do_job_while_nothing_can_be_stored() -> None:
    """While commits fail, nobody would let a job go on, so it does."""
    queue, loop, store = _storing_queue()
    notes: list[str] = []
    queue.do(store.noting(notes, "a", 3 * Store.MOST), "a")
    loop.settle()
    assert len(notes) < 3 * Store.MOST
    store.is_failing = True
    store.commit()
    loop.settle()
    assert len(notes) == 3 * Store.MOST
