"""Messages whose sending takes turns: those of one topic one after the other, in the order of their acceptance."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.broker.work import WorkQueue

__all__ = ["Lines"]

MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""Bytes of wills and of the host's messages in all lines; beyond that, no client with a will is accepted."""
MAX_UNSENT_BYTES_OF_OWNER = 1024 * 1024
"""The same of one owner."""
ENTRY_BYTES = 1_024
"""Memory per message in a line, in addition to its topic and payload."""


class _Entry:
    __slots__ = ("done", "has_publisher", "is_done", "job", "owner", "size")

    def __init__(
        self, job: Iterator[int], done: Callable[[bool], None], size: int, owner: str, *, has_publisher: bool
    ) -> None:
        self.job = job
        self.done = done
        self.size = size
        self.owner = owner
        self.has_publisher = has_publisher
        self.is_done = False


class Lines:
    """A line of jobs per topic. The first of each line takes its turns in the `WorkQueue`.

    In a line, each owner has its turn: a message is accepted when its turn comes. A client that publishes waits for its
    message, so it has at most one in a line. Nobody waits for wills and the host's own: of these, only one at a time is
    worked on, and their bytes are bounded by `is_full`.
    """

    def __init__(self, work: WorkQueue) -> None:
        self._work = work
        self._lines: dict[bytes, dict[str, deque[_Entry]]] = {}
        """By topic and owner; the first of the first owner is worked on."""
        self._waiting: deque[bytes] = deque()
        """Topics whose line waits until the one message without a publisher that is worked on is done."""
        self._is_one_under_way = False
        """Whether a message without a publisher is worked on."""
        self._unsent_bytes = 0
        self._unsent_of: Counter[str] = Counter()
        """The same of each owner."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def __contains__(self, topic: bytes) -> bool:
        """Return whether a message of a topic is still being sent."""
        return topic in self._lines

    def __len__(self) -> int:
        """Return how many topics have a line."""
        return len(self._lines)

    def is_full(self, owner: str) -> bool:
        """Whether too much is waiting that nobody waits for: in all, or of an owner."""
        return self._unsent_bytes >= MAX_UNSENT_BYTES or self._unsent_of[owner] >= MAX_UNSENT_BYTES_OF_OWNER

    def add(
        self,
        topic: bytes,
        job: Iterator[int],
        done: Callable[[bool], None],
        *,
        size: int,
        owner: str = "",
        has_publisher: bool,
    ) -> bool:
        """Do a job at once, as far as this turn allows; otherwise in later turns, behind those of the same topic.

        Args:
            topic: the topic.
            job: sends the message (a job for `WorkQueue`).
            done: called once, with whether the job ended as it should, also if that is at once.
            size: bytes of the message.
            owner: whose turns it takes.
            has_publisher: whether somebody waits for it.

        Returns:
            whether it is done.
        """
        entry = _Entry(job, done, ENTRY_BYTES + size, owner, has_publisher=has_publisher)
        if not has_publisher:
            self._unsent_bytes += entry.size
            self._unsent_of[owner] += entry.size
        line = self._lines.get(topic)
        if line is not None:
            line.setdefault(owner, deque()).append(entry)
            return False
        self._lines[topic] = {owner: deque((entry,))}
        self._is_idle.clear()
        self._work.do(self._advance(topic), owner)
        return entry.is_done

    async def settle(self) -> None:
        """Wait until everything is sent."""
        await self._is_idle.wait()

    def _advance(self, topic: bytes) -> Iterator[int]:
        """Do the jobs of a line: a job for `WorkQueue`, which is taken over by the next owner's after each message."""
        line = self._lines[topic]
        entries = next(iter(line.values()))
        entry = entries[0]
        if not entry.has_publisher:
            if self._is_one_under_way:
                self._waiting.append(topic)
                return
            self._is_one_under_way = True
        try:
            yield from entry.job
        except Exception:
            # Unexpected, and for the loop to log; the others must not wait forever.
            self._end(topic, line, entry, is_sent=False)
            raise
        self._end(topic, line, entry, is_sent=True)

    def _end(self, topic: bytes, line: dict[str, deque[_Entry]], entry: _Entry, *, is_sent: bool) -> None:
        """Remove the first of a line, and let the next owner's follow."""
        entry.is_done = True
        entries = line.pop(entry.owner)
        entries.popleft()
        if entries:
            # Behind all others.
            line[entry.owner] = entries
        if line:
            self._work.do_later(self._advance(topic), next(iter(line)))
        else:
            del self._lines[topic]
        if not entry.has_publisher:
            self._unsent_bytes -= entry.size
            self._unsent_of[entry.owner] -= entry.size
            if not self._unsent_of[entry.owner]:
                del self._unsent_of[entry.owner]
            self._let_next()
        entry.done(is_sent)
        if not self._lines:
            self._is_idle.set()

    def _let_next(self) -> None:
        self._is_one_under_way = False
        if self._waiting:
            topic = self._waiting.popleft()
            self._work.do_later(self._advance(topic), next(iter(self._lines[topic])))
