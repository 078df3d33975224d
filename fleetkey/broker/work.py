"""Long work in pieces, so that each turn of the event loop does a bounded amount of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

__all__ = ["WorkQueue", "filter_cost"]

WORK_AT_ONCE = 256
"""Units of a job done at once, before it has to wait for its turn. A unit takes about a microsecond."""
WORK_PER_PIECE = 256
"""Units of one job before the next job gets its turn."""
WORK_PER_TURN = 1_024
"""Units of all jobs together per turn of the event loop."""
UNITS_PER_FILTER = 4
UNITS_PER_LEVEL = 2
BYTES_PER_UNIT = 64


class WorkQueue:
    """Runs jobs round-robin, a piece at a time.

    A job is an iterator that does a little work at each step and yields how many units that took. Callers bound the
    number of jobs; a job handles its own exceptions.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: deque[Iterator[int]] = deque()
        self._is_due = False
        """Whether a run is scheduled for the next turn of the event loop."""

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._jobs)

    def do(self, job: Iterator[int]) -> bool:
        """Start a job now and leave the rest of it to the next turns; return whether it is already done."""
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
        """Do this turn's share; the event loop serves everything else before the next one."""
        self._is_due = False
        jobs, pieces = self._jobs, WORK_PER_TURN // WORK_PER_PIECE
        try:
            while jobs and pieces:
                pieces -= 1
                job = jobs.popleft()
                if not _is_done(job, WORK_PER_PIECE):
                    jobs.append(job)
        finally:
            # Even if a job raised unexpectedly: the loop logs it, and the others must not wait forever.
            self._go_on()


def _is_done(job: Iterator[int], units: int) -> bool:
    for cost in job:
        units -= cost
        if units <= 0:
            return False
    return True


def filter_cost(topic_filter: str) -> int:
    """Return the units it takes to read a filter, and to add it to the subscription trie or remove it."""
    return UNITS_PER_FILTER + UNITS_PER_LEVEL * topic_filter.count("/") + len(topic_filter) // BYTES_PER_UNIT
