"""Messages that are sent in several turns, queued by topic: those of one topic are sent one after the other."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING

from fleetkey.turns import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.broker.work import WorkQueue

__all__ = ["TopicQueues"]

MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""Bytes of wills and of the host's messages in all queues; beyond that, no client with a will is accepted."""
MAX_UNSENT_BYTES_OF_OWNER = 1024 * 1024
"""The same of one owner."""
ENTRY_BYTES = 1_024
"""Memory per message in a queue, in addition to its topic and payload."""


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


class TopicQueues:
    """A queue of jobs per topic. The first of each queue takes its turns in the `WorkQueue`.

    In a queue, each owner has its turn: a message is accepted when its turn comes. A client that publishes waits for
    its message, so it has at most one in a queue. Nobody waits for wills and the host's own: of these, only one at a
    time is worked on, and their bytes are bounded by `is_full`.
    """

    def __init__(self, work: WorkQueue) -> None:
        self._work = work
        self._queues: dict[bytes, RoundRobin[_Entry]] = {}
        """By topic. The first of each is worked on, or waits for another one without a publisher."""
        self._waiting: deque[tuple[bytes, _Entry]] = deque()
        """The first of their topics, until the one message without a publisher that is worked on is sent."""
        self._is_one_under_way = False
        """Whether a message without a publisher is worked on."""
        self._unsent_bytes = 0
        """Bytes of messages without a publisher."""
        self._unsent_of: Counter[str] = Counter()
        """The same of each owner."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def __contains__(self, topic: bytes) -> bool:
        """Return whether a message of a topic is still being sent."""
        return topic in self._queues

    def __len__(self) -> int:
        """Return how many topics have a queue."""
        return len(self._queues)

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
        is_first = topic not in self._queues
        self._queues.setdefault(topic, RoundRobin()).append(owner, entry)
        if not is_first:
            return False
        self._is_idle.clear()
        if self._may_begin(topic, entry):
            self._work.do(self._send(topic, entry), owner)
        return entry.is_done

    async def settle(self) -> None:
        """Wait until everything is sent."""
        await self._is_idle.wait()

    def _may_begin(self, topic: bytes, entry: _Entry) -> bool:
        """Whether a message may be worked on; one without a publisher may have to wait for another."""
        if entry.has_publisher:
            return True
        if self._is_one_under_way:
            self._waiting.append((topic, entry))
            return False
        self._is_one_under_way = True
        return True

    def _send(self, topic: bytes, entry: _Entry) -> Iterator[int]:
        """Do the job of a message, and let the next of its topic follow: a job for `WorkQueue`."""
        try:
            yield from entry.job
        except Exception:
            # Unexpected, and for the loop to log; the others must not wait forever.
            self._end(topic, entry, is_sent=False)
            raise
        self._end(topic, entry, is_sent=True)

    def _end(self, topic: bytes, entry: _Entry, *, is_sent: bool) -> None:
        entry.is_done = True
        if not entry.has_publisher:
            self._uncount(entry)
        queue = self._queues[topic]
        queue.popleft()
        if queue:
            self._begin_later(topic, queue.first)
        else:
            del self._queues[topic]
        entry.done(is_sent)
        if not self._queues:
            self._is_idle.set()

    def _uncount(self, entry: _Entry) -> None:
        """Stop counting a message without a publisher, and let the next one follow."""
        self._unsent_bytes -= entry.size
        self._unsent_of[entry.owner] -= entry.size
        if not self._unsent_of[entry.owner]:
            del self._unsent_of[entry.owner]
        self._is_one_under_way = False
        if self._waiting:
            self._begin_later(*self._waiting.popleft())

    def _begin_later(self, topic: bytes, entry: _Entry) -> None:
        if self._may_begin(topic, entry):
            self._work.do_later(self._send(topic, entry), entry.owner)
