"""Messages that take turns: in order within a topic, in turns among topics; on a loop that the test turns by hand."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker import topic_queues
from fleetkey.broker.topic_queues import TopicQueues
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_PIECE, WORK_PER_TURN, WorkQueue
from tests.unit.broker.rig import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rig:
    """Topics' queues, and what happened to their jobs, in order."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.topic_queues = TopicQueues(WorkQueue(self.loop.as_loop()))
        self.told: list[str] = []

    def add(
        self,
        topic: str,
        name: str,
        units: int = WORK_PER_TURN,
        *,
        owner: str = "",
        fails: bool = False,
        has_publisher: bool = True,
    ) -> bool:
        """Add a job of so many units."""

        def job() -> Iterator[int]:
            self.told.append(f"{name} begins")
            for _ in range(units):
                yield 1
            if fails:
                raise RuntimeError

        done = partial(self._end, name)
        return self.topic_queues.add(topic.encode(), job(), done, size=100, owner=owner, has_publisher=has_publisher)

    def _end(self, name: str, is_sent: bool) -> None:  # noqa: FBT001 - the queues' callback
        self.told.append(f"{name} ends" if is_sent else f"{name} fails")


async def test_add_short() -> None:
    """What is little is done at once, and leaves no line."""
    rig = Rig()
    assert rig.add("x", "a", WORK_AT_ONCE - 1)
    assert rig.told == ["a begins", "a ends"]
    assert len(rig.topic_queues) == 0


async def test_add_behind() -> None:
    """However little it is, it waits for those of its topic that came before, and no other topic's."""
    rig = Rig()
    assert not rig.add("x", "a")
    assert not rig.add("x", "b", 1)
    assert not rig.add("x", "c", 1)
    assert rig.add("y", "other", 1)
    assert b"x" in rig.topic_queues
    rig.loop.settle()
    assert rig.told == ["a begins", "other begins", "other ends", "a ends", "b begins", "b ends", "c begins", "c ends"]
    assert len(rig.topic_queues) == 0


async def test_topics_take_turns() -> None:
    """A long one doesn't hold up those of other topics."""
    rig = Rig()
    rig.add("x", "long", 100 * WORK_PER_TURN)
    for number in range(3):
        rig.add(str(number), str(number), WORK_AT_ONCE + WORK_PER_PIECE)
    for _ in range(3):
        rig.loop.turn()
    assert {f"{number} ends" for number in range(3)} < set(rig.told)
    assert "long ends" not in rig.told


async def test_job_that_fails() -> None:
    """Whoever waits for it is told, and those behind it have their turn."""
    rig = Rig()
    rig.add("x", "a", fails=True)
    rig.add("x", "b")
    with pytest.raises(RuntimeError):
        rig.loop.settle()
    rig.loop.settle()
    assert rig.told == ["a begins", "a fails", "b begins", "b ends"]
    assert len(rig.topic_queues) == 0


async def test_without_publisher() -> None:
    """Of those that nobody waits for, one is worked on at a time; those with a publisher take turns with it."""
    rig = Rig()
    for number in range(3):
        rig.add(f"will {number}", f"will {number}", 4 * WORK_PER_TURN, has_publisher=False)
    rig.add("x", "a")
    rig.loop.settle()
    wills = [event for event in rig.told if event.startswith("will")]
    assert wills == [f"will {number} {what}" for number in range(3) for what in ("begins", "ends")]
    assert rig.told.index("a ends") < rig.told.index("will 0 ends")


async def test_without_publisher_in_one_line() -> None:
    """Also behind, and in front of, one with a publisher."""
    rig = Rig()
    rig.add("y", "other", has_publisher=False)
    for name in ("a", "b", "c"):
        rig.add("x", name, has_publisher=name == "b")
    rig.loop.settle()
    assert [event for event in rig.told if event[0] in "abc"] == [
        f"{name} {what}" for name in "abc" for what in ("begins", "ends")
    ]


async def test_without_publisher_that_fails() -> None:
    """The next one has its turn."""
    rig = Rig()
    rig.add("x", "a", fails=True, has_publisher=False)
    rig.add("y", "b", has_publisher=False)
    with pytest.raises(RuntimeError):
        rig.loop.settle()
    rig.loop.settle()
    assert rig.told[-2:] == ["b begins", "b ends"]


async def test_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that nobody waits for are counted until they are sent."""
    monkeypatch.setattr(topic_queues, "MAX_UNSENT_BYTES", 3 * (topic_queues.ENTRY_BYTES + 100))
    rig = Rig()
    for number in range(3):
        assert not rig.topic_queues.is_full("other")
        rig.add("x", f"a{number}")
        rig.add("x", f"b{number}", has_publisher=False)
    assert rig.topic_queues.is_full("other")
    rig.loop.settle()
    assert not rig.topic_queues.is_full("other")


async def test_is_full_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One owner's wills fill its own part, and keep nobody else's out."""
    monkeypatch.setattr(topic_queues, "MAX_UNSENT_BYTES_OF_OWNER", 3 * (topic_queues.ENTRY_BYTES + 100))
    rig = Rig()
    for number in range(3):
        assert not rig.topic_queues.is_full("greedy")
        rig.add("x", f"a{number}", owner="greedy", has_publisher=False)
    assert rig.topic_queues.is_full("greedy")
    assert not rig.topic_queues.is_full("other")
    rig.loop.settle()
    assert not rig.topic_queues.is_full("greedy")


async def test_owners_take_turns() -> None:
    """In a line, a message of each owner is sent after the other; an owner's own keep their order."""
    rig = Rig()
    for number in range(4):
        rig.add("x", f"a{number}", owner="a")
    rig.add("x", "b0", owner="b")
    rig.add("x", "b1", owner="b")
    rig.loop.settle()
    begun = [told.split()[0] for told in rig.told if told.endswith("begins")]
    assert begun == ["a0", "b0", "a1", "b1", "a2", "a3"]


async def test_settle() -> None:
    """It returns once there is no line."""
    rig = Rig()
    await rig.topic_queues.settle()
    rig.add("x", "a", has_publisher=False)
    rig.add("x", "b")
    settling = asyncio.ensure_future(rig.topic_queues.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    rig.loop.settle()
    await settling
    assert rig.told[-1] == "b ends"
