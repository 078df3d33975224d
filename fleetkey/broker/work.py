"""Long work in pieces, so that each turn of the event loop does a bounded amount of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleetkey.turns import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.turns import CallsSoon

    class Store(Protocol):
        """The parts of the broker's store that are used here."""

        position: int
        is_failing: bool

        @property
        def is_behind(self) -> bool:
            """Whether too much is waiting for a commit."""

        def after_commit(self, callback: Callable[[bool], None]) -> None:
            """Call `callback` after the next commit."""


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

    A job that notes something in the store while too much is waiting there goes on after the next commit, and so do
    all jobs of its owner: so one owner's messages don't make everybody wait for a large commit.
    """

    def __init__(self, loop: CallsSoon, store: Store | None = None) -> None:
        self._loop = loop
        self._store = store
        self._jobs: RoundRobin[tuple[str, Iterator[int]]] = RoundRobin()
        """With their owners."""
        self._storing: RoundRobin[tuple[str, Iterator[int]]] = RoundRobin()
        """Those of owners that noted more than the store could take; they wait while it is behind."""
        self._is_storing_next = False
        """Whether those have the next turn."""
        self._is_waiting = False
        """Whether the next commit calls `_go_on`."""
        self._left = WORK_PER_TURN
        """Units that are left of this turn's."""
        self._is_due = False
        """Whether the next turn of the event loop calls `_run`."""

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._jobs) + len(self._storing)

    def do(self, job: Iterator[int], owner: str = "") -> bool:
        """Start a job now, as far as this turn allows, and leave the rest to later turns.

        Args:
            job: the job.
            owner: whose turns it takes; empty for the server's own.

        Returns:
            whether it is done.
        """
        if self._left > 0 and not self._storing.size_of(owner):
            return self._do_piece(owner, job, WORK_AT_ONCE)
        self.do_later(job, owner)
        return False

    def do_later(self, job: Iterator[int], owner: str = "") -> None:
        """Leave a whole job to later turns."""
        jobs = self._storing if self._storing.size_of(owner) else self._jobs
        jobs.append(owner, (owner, job))
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Start a turn with its share of the jobs; the event loop serves everyone else before the next one."""
        self._is_due, self._left = False, WORK_PER_TURN
        jobs = self._next()
        try:
            while jobs and self._left > 0:
                owner, job = jobs.popleft()
                self._do_piece(owner, job, WORK_PER_PIECE)
                jobs = self._next()
        finally:
            # Also if a job failed unexpectedly: the loop logs it, and the others must not wait for ever.
            if self._next():
                self._wake()

    def _next(self) -> RoundRobin[tuple[str, Iterator[int]]]:
        """Return the jobs of which one has the next turn; they are empty if none may go on now."""
        if not self._storing or self._is_held_up():
            return self._jobs
        self._is_storing_next = not self._is_storing_next
        return self._storing if self._is_storing_next or not self._jobs else self._jobs

    def _do_piece(self, owner: str, job: Iterator[int], most: int) -> bool:
        """Do up to so many units of a job, and leave the rest to later turns; return whether it is done."""
        store = self._store
        before = store.position if store is not None else 0
        if self._is_done(job, most):
            return True
        if store is not None and store.position != before and self._is_held_up():
            self._storing.append(owner, (owner, job))
        else:
            self.do_later(job, owner)
        return False

    def _is_held_up(self) -> bool:
        """Whether what is noted in the store has to wait for the next commit; if so, that calls `_go_on`."""
        store = self._store
        # While nothing can be stored, nothing is noted either; the jobs must end all the same.
        if store is None or store.is_failing or not store.is_behind:
            return False
        if not self._is_waiting:
            self._is_waiting = True
            store.after_commit(self._go_on)
        return True

    def _go_on(self, is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
        del is_stored
        self._is_waiting = False
        if self._storing:
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
