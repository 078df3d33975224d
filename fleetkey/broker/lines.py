"""Messages whose sending takes turns: those of one topic one after the other, in the order of their acceptance."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.broker.work import WorkQueue

__all__ = ["Lines"]

MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""Bytes of wills and of the host's messages in all lines; beyond that, no client with a will is accepted."""
ENTRY_BYTES = 1_024
"""Memory per message in a line, in addition to its topic and payload."""


class _Entry:
    __slots__ = ("done", "has_publisher", "is_done", "job", "size")

    def __init__(self, job: Iterator[int], done: Callable[[bool], None], size: int, *, has_publisher: bool) -> None:
        self.job = job
        self.done = done
        self.size = size
        self.has_publisher = has_publisher
        self.is_done = False


class Lines:
    """A line of jobs per topic. The first of each line takes its turns in the `WorkQueue`.

    A client that publishes waits for its message, so it has at most one in a line. Nobody waits for wills and the
    host's own: of these, only one at a time is worked on, and their bytes are bounded by `is_full`.
    """

    def __init__(self, work: WorkQueue) -> None:
        self._work = work
        self._lines: dict[bytes, deque[_Entry]] = {}
        self._waiting: deque[bytes] = deque()
        """Topics whose line waits until the one message without a publisher that is worked on is done."""
        self._is_one_under_way = False
        """Whether a message without a publisher is worked on."""
        self._unsent_bytes = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def __contains__(self, topic: bytes) -> bool:
        """Return whether a message of a topic is still being sent."""
        return topic in self._lines

    def __len__(self) -> int:
        """Return how many topics have a line."""
        return len(self._lines)

    @property
    def is_full(self) -> bool:
        """Whether too much is waiting that nobody waits for."""
        return self._unsent_bytes >= MAX_UNSENT_BYTES

    def add(
        self, topic: bytes, job: Iterator[int], done: Callable[[bool], None], *, size: int, has_publisher: bool
    ) -> bool:
        """Do a job at once, as far as this turn allows; otherwise in later turns, behind those of the same topic.

        Args:
            topic: the topic.
            job: sends the message (a job for `WorkQueue`).
            done: called once, with whether the job ended as it should, also if that is at once.
            size: bytes of the message.
            has_publisher: whether somebody waits for it.

        Returns:
            whether it is done.
        """
        entry = _Entry(job, done, ENTRY_BYTES + size, has_publisher=has_publisher)
        if not has_publisher:
            self._unsent_bytes += entry.size
        line = self._lines.get(topic)
        if line is not None:
            line.append(entry)
            return False
        self._lines[topic] = deque((entry,))
        self._is_idle.clear()
        self._work.do(self._advance(topic))
        return entry.is_done

    async def settle(self) -> None:
        """Wait until everything is sent."""
        await self._is_idle.wait()

    def _advance(self, topic: bytes) -> Iterator[int]:
        """Do the jobs of a line: a job for `WorkQueue`."""
        line = self._lines[topic]
        while line:
            entry = line[0]
            if not entry.has_publisher:
                if self._is_one_under_way:
                    self._waiting.append(topic)
                    return
                self._is_one_under_way = True
            try:
                yield from entry.job
            except Exception:
                # Unexpected, and for the loop to log; the others must not wait forever.
                self._end(topic, line, is_sent=False)
                if line:
                    self._work.do_later(self._advance(topic))
                raise
            self._end(topic, line, is_sent=True)

    def _end(self, topic: bytes, line: deque[_Entry], *, is_sent: bool) -> None:
        """Remove the first of a line."""
        entry = line.popleft()
        entry.is_done = True
        if not line:
            del self._lines[topic]
        if not entry.has_publisher:
            self._unsent_bytes -= entry.size
            self._let_next()
        entry.done(is_sent)
        if not self._lines:
            self._is_idle.set()

    def _let_next(self) -> None:
        self._is_one_under_way = False
        if self._waiting:
            self._work.do_later(self._advance(self._waiting.popleft()))
