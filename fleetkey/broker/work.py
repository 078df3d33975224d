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

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._jobs)

    def do(self, job: Iterator[int]) -> bool:
        """Begin a job now and leave the rest of it to the next turns; return whether it is done already."""
        if _is_done(job, WORK_AT_ONCE):
            return True
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._loop.call_soon(self._run)
        return False

    def _run(self) -> None:
        """Do this turn's share; the loop serves everyone else before the next one."""
        jobs, pieces = self._jobs, WORK_PER_TURN // WORK_PER_PIECE
        while jobs and pieces:
            pieces -= 1
            if _is_done(jobs[0], WORK_PER_PIECE):
                jobs.popleft()
            else:
                jobs.rotate(-1)
        if jobs:
            self._loop.call_soon(self._run)


def _is_done(job: Iterator[int], units: int) -> bool:
    for cost in job:
        units -= cost
        if units <= 0:
            return False
    return True


def filter_cost(topic_filter: str) -> int:
    """Return the units that it takes to look at a filter, to add it to the tree of subscriptions or take it out."""
    return UNITS_PER_FILTER + UNITS_PER_LEVEL * topic_filter.count("/") + len(topic_filter) // BYTES_PER_UNIT
