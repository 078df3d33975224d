"""Whatever happens between the turns of long packets: no connection gets an older value of a topic behind a newer."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.broker import route_cache, work
from fleetkey.broker.retained import RetainedMessage
from tests.unit.broker.rig import Parts, Sink, message, principal, publications_of
from tests.unit.broker.test_subscribe_handler import Rig

if TYPE_CHECKING:
    from collections.abc import Generator

TOPICS = ["a", "b/x", "b/y"]
GROUPS = [["a", "b/x", "b/y"], ["b/+", "a"], ["b/y"], ["a"], ["+", "b/x", "b/y"]]
"""What one packet names. No two filters of a group match the same topic: one that does so brings it once more."""

STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "retain"]), st.integers(0, len(TOPICS) - 1)),
    st.tuples(st.sampled_from(["publish", "retain"]), st.integers(0, len(TOPICS) - 1)),
    st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.integers(0, len(GROUPS) - 1)),
    st.tuples(st.just("work"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["pause", "read", "turn", "acknowledge", "take_over", "leave"]), st.just(0)),
)


class Reader(Sink):
    """A connection that checks the order of what it is sent."""

    def __init__(self, story: Story) -> None:
        super().__init__(principal("client"), story.parts.loop)
        self._story = story
        self._newest: dict[str, int] = {}

    def send(self, data: bytes) -> None:
        """Check a message, by its number; only one that is retained may be older, if it was asked for after all newer.

        That is how a new subscription is answered (3.3.1-6).
        """
        super().send(data)
        for sent in publications_of([data]):
            value, newest = int(sent.payload), self._newest.get(sent.topic, 0)
            assert value >= newest or (sent.retain and newest <= self._story.asked_at(sent.topic)), sent
            self._newest[sent.topic] = max(value, newest)


class Story:
    """A client of parts, and what happens to it."""

    def __init__(self, parts: Parts, qos: int) -> None:
        self.parts, self.qos = parts, qos
        self.rig = Rig(parts)
        self.job: Generator[int] | None = None
        self.number = 0
        self._asked: dict[str, int] = {}
        self.take_over(0)

    def asked_at(self, topic: str) -> int:
        """Return the newest value when a filter that matches a topic was granted last."""
        told, self.parts.observer.told = self.parts.observer.told, []
        for event, topic_filter in told:
            if event == "subscribed":
                self._asked[topic_filter] = self.number
        filters = (topic, "+" if "/" not in topic else "b/+")
        return max(self._asked.get(topic_filter, 0) for topic_filter in filters)

    def publish(self, topic: int) -> None:
        """Publish the next value."""
        self.asked_at(TOPICS[topic])
        self.number += 1
        self._send(topic, is_retained=False)

    def retain(self, topic: int) -> None:
        """Retain the next value, and publish it."""
        self.asked_at(TOPICS[topic])
        self.number += 1
        self._send(topic, is_retained=True)

    def _send(self, topic: int, *, is_retained: bool) -> None:
        sent = message(TOPICS[topic], b"%d" % self.number, self.qos)

        def begin() -> None:
            assert self.parts.retained.keep(RetainedMessage(message=sent))

        self.parts.router.publish(sent, begin=begin if is_retained else None)

    def subscribe(self, group: int) -> None:
        """Begin a packet behind the one before."""
        self.work(1_000)
        if self.is_here:
            self.job = self.rig.subscribe(self.sink, self.session, *((name, 1) for name in GROUPS[group]))

    def unsubscribe(self, group: int) -> None:
        """Begin a packet behind the one before."""
        self.work(1_000)
        if self.is_here:
            self.job = self.rig.unsubscribe(self.sink, self.session, *GROUPS[group])

    def work(self, steps: int) -> None:
        """Go on with a packet."""
        for _ in range(steps):
            if self.job is None or next(self.job, None) is None:
                self.job = None
                return

    def pause(self, _: int) -> None:
        """Read nothing."""
        self.sink.is_paused = True

    def read(self, _: int) -> None:
        """Read again."""
        self.sink.is_paused = False
        if self.is_here:
            self.parts.delivery.drain(self.session)

    def turn(self, _: int) -> None:
        """Turn the loop."""
        self.parts.loop.turn()

    def acknowledge(self, _: int) -> None:
        """Acknowledge the oldest message."""
        if self.is_here and self.session.inflight:
            assert self.parts.delivery.acknowledged(self.session, next(iter(self.session.inflight)))

    def leave(self, _: int) -> None:
        """Close the connection, which ends its packet."""
        if self.is_here:
            self.parts.sessions.leave(self.session)
        if self.job is not None:
            self.job.close()
            self.job = None

    def take_over(self, _: int) -> None:
        """Come with another connection."""
        if self.job is not None:
            self.job.close()
            self.job = None
        self.sink, opened = self.parts.open(principal("client"), sink=Reader(self))
        self.session = opened.session

    @property
    def is_here(self) -> bool:
        """Whether it is connected."""
        return self.session.connection is self.sink

    def end(self) -> None:
        """Let everything come."""
        if not self.is_here:
            self.take_over(0)
        self.work(1_000)
        self.read(0)
        while self.parts.loop.due or self.session.inflight:
            self.parts.loop.settle()
            self.acknowledge(0)


async def _tell(steps: list[tuple[str, int]], qos: int, *, in_turns: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if in_turns:
            # Each message takes turns, each of them a step of it.
            patch.setattr(route_cache, "SENDS_AT_ONCE", 0)
            patch.setattr(work, "WORK_PER_TURN", 1)
        parts = Parts(Path(folder), max_inflight=2)
        story = Story(parts, qos)
        for name, argument in steps:
            getattr(story, name)(argument)
        story.end()
        await parts.close()


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("in_turns", [False, True])
@given(steps=st.lists(STEPS, max_size=40))
@settings(deadline=None, max_examples=100)
def test_order(steps: list[tuple[str, int]], qos: int, *, in_turns: bool) -> None:
    """Each value that comes is at least as new as those before it on that connection."""
    asyncio.run(_tell(steps, qos, in_turns=in_turns))
