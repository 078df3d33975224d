"""Long work in pieces, so that each turn of the event loop does a bounded amount of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.turns import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.turns import CallsSoon

__all__ = ["WorkQueue", "filter_cost"]

WORK_AT_ONCE = 256
"""Units of a job done at once, before it has to wait for its turn. A unit takes about a microsecond."""
WORK_PER_PIECE = 256
"""Units of one job before the next job gets its turn."""
WORK_PER_TURN = 1_024
"""Units of all jobs together per turn of the event loop, including what is done at once."""
UNITS_PER_FILTER = 4
UNITS_PER_LEVEL = 2
BYTES_PER_UNIT = 64


class WorkQueue:
    """Runs jobs in turns, a piece of one of each owner's after the other.

    A job is an iterator that does a little at each step and yields how many units that took. Whoever adds one bounds
    how many there are; a job handles its own exceptions.
    """

    def __init__(self, loop: CallsSoon) -> None:
        self._loop = loop
        self._jobs: RoundRobin[tuple[str, Iterator[int]]] = RoundRobin()
        """With their owners."""
        self._left = WORK_PER_TURN
        """Units that are left of this turn's."""
        self._is_due = False
        """Whether the next turn of the event loop calls `_run`."""

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._jobs)

    def do(self, job: Iterator[int], owner: str = "") -> bool:
        """Start a job now, as far as this turn allows, and leave the rest to later turns.

        Args:
            job: the job.
            owner: whose turns it takes; empty for the server's own.

        Returns:
            whether it is done.
        """
        if self._left > 0 and self._is_done(job, WORK_AT_ONCE):
            return True
        self.do_later(job, owner)
        return False

    def do_later(self, job: Iterator[int], owner: str = "") -> None:
        """Leave a whole job to later turns."""
        self._jobs.append(owner, (owner, job))
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Start a turn with its share of the jobs; the event loop serves everyone else before the next one."""
        self._is_due, self._left = False, WORK_PER_TURN
        try:
            while self._jobs and self._left > 0:
                owner, job = self._jobs.popleft()
                if not self._is_done(job, WORK_PER_PIECE):
                    self._jobs.append(owner, (owner, job))
        finally:
            # Also if a job failed unexpectedly: the loop logs it, and the others must not wait for ever.
            if self._jobs:
                self._wake()

    def _is_done(self, job: Iterator[int], most: int) -> bool:
        """Do up to so many units of a job, and no more than are left of this turn's; return whether it is done."""
        units = min(most, self._left)
        self._left -= units
        self._wake()
        for cost in job:
            units -= cost
            if units <= 0:
                # What the last step took too much is this turn's as well.
                self._left += units
                return False
        self._left += units
        return True


def filter_cost(topic_filter: str) -> int:
    """Return the units it takes to read a filter, and to add it to the subscription trie or remove it."""
    return UNITS_PER_FILTER + UNITS_PER_LEVEL * topic_filter.count("/") + len(topic_filter) // BYTES_PER_UNIT
