"""Long work, done piece by piece: however much there is of it, each turn of the event loop does a bounded amount."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

__all__ = ["WorkQueue", "filter_cost"]

WORK_AT_ONCE = 256
"""Units of a job that are done at once, before it has to wait for its turn. A unit takes about a microsecond."""
WORK_PER_PIECE = 256
"""Units of one job before the next job has its turn."""
WORK_PER_TURN = 1_024
"""Units of all jobs together in one turn of the event loop."""
UNITS_PER_FILTER = 4
UNITS_PER_LEVEL = 2
BYTES_PER_UNIT = 64


class WorkQueue:
    """Runs jobs in turns, a piece of each after the other.

    A job is an iterator that does a little at each step and yields how many units that took. Whoever adds one bounds
    how many there are; a job handles its own exceptions.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: deque[Iterator[int]] = deque()
        self._is_due = False
        """Whether the loop's next turn does a share."""

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._jobs)

    def do(self, job: Iterator[int]) -> bool:
        """Begin a job now and leave the rest of it to the next turns; return whether it is done already."""
        if _is_done(job, WORK_AT_ONCE):
            return True
        self.do_later(job)
        return False

    def do_later(self, job: Iterator[int]) -> None:
        """Leave a whole job to the next turns."""
        self._jobs.append(job)
        self._go_on()

    def _go_on(self) -> None:
        if self._jobs and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Do this turn's share; the loop serves everyone else before the next one."""
        self._is_due = False
        jobs, pieces = self._jobs, WORK_PER_TURN // WORK_PER_PIECE
        try:
            while jobs and pieces:
                pieces -= 1
                job = jobs.popleft()
                if not _is_done(job, WORK_PER_PIECE):
                    jobs.append(job)
        finally:
            # Also when a job failed by mistake: the loop logs it, and the others must not wait for ever.
            self._go_on()


def _is_done(job: Iterator[int], units: int) -> bool:
    for cost in job:
        units -= cost
        if units <= 0:
            return False
    return True


def filter_cost(topic_filter: str) -> int:
    """Return the units that it takes to look at a filter, to add it to the tree of subscriptions or take it out."""
    return UNITS_PER_FILTER + UNITS_PER_LEVEL * topic_filter.count("/") + len(topic_filter) // BYTES_PER_UNIT
