"""Calls that are made a few at a time."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey import turns
from fleetkey.turns import RESTED_PER_TURN, FairTurnQueue, NextTurn, RestQueue, RoundRobin, TurnQueue


async def test_order_and_number() -> None:
    """Calls are made in order: the first ones at once, the others so many in a turn."""
    queue, made = TurnQueue(3), list[int]()
    assert [queue.do(partial(made.append, number)) for number in range(8)] == [True] * 3 + [False] * 5
    counts = [len(made)]
    while len(made) < 8:
        await asyncio.sleep(0)
        counts.append(len(made))
    assert counts == [3, 6, 8]
    assert made == list(range(8))


async def test_room_again() -> None:
    """After a turn there is room again, though others called in between."""
    queue, made = TurnQueue(2), list[int]()
    for number in range(5):
        assert queue.do(partial(made.append, number))
        await asyncio.sleep(0)
    assert made == list(range(5))


async def test_later() -> None:
    """A call that is to be made later isn't made in this turn, nor in one that it was asked for in."""
    queue, made = TurnQueue(4), list[int]()

    def again() -> None:
        made.append(len(made))
        if len(made) < 3:
            queue.do_later(again)

    queue.do_later(again)
    counts = []
    for _ in range(4):
        counts.append(len(made))
        await asyncio.sleep(0)
    assert counts == [0, 1, 2, 3]


async def test_failure() -> None:
    """A call that fails is reported, and keeps none of the others from being made."""
    queue, made, failed = TurnQueue(1), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    queue.do(lambda: made.append(1))
    queue.do(lambda: pytest.fail("on purpose"))
    queue.do(lambda: made.append(2))
    for _ in range(4):
        await asyncio.sleep(0)
    assert made == [1, 2]
    assert len(failed) == 1


def test_loop() -> None:
    """A queue may belong to a loop that isn't running yet."""
    loop, made = asyncio.new_event_loop(), list[int]()
    queue = TurnQueue(1, loop)
    queue.do(lambda: made.append(1))
    queue.do(lambda: made.append(2))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert made == [1, 2]


async def test_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made after a while, each once, a few per turn, and none waits for ever."""
    monkeypatch.setattr(turns, "REST_SECONDS", 0.001)
    queue, made = RestQueue(), list[int]()
    for number in range(100):
        queue.add(partial(made.append, number))
    await asyncio.sleep(0)
    assert made == []
    counts = [0]
    async with asyncio.timeout(10):
        while len(made) < 100:
            await asyncio.sleep(0)
            counts.append(len(made))
    assert made == list(range(100))
    assert max(after - before for before, after in itertools.pairwise(counts)) <= RESTED_PER_TURN
    rested = asyncio.Event()
    queue.add(rested.set)
    await asyncio.wait_for(rested.wait(), 10)


async def test_fair_order_and_number() -> None:
    """Each source has its turn, however many calls others have; so many calls are made in a turn."""
    queue, made = FairTurnQueue(3, asyncio.get_running_loop()), list[str]()
    for source in ["a"] * 9 + ["b", "c", "b"]:
        queue.do(source, partial(made.append, source), pytest.fail)
    turns_taken = [len(made)]
    while len(made) < 12:
        await asyncio.sleep(0)
        turns_taken.append(len(made))
    assert turns_taken == [3, 6, 9, 12]
    assert "".join(made) == "aaa" + "abc" + "aba" + "aaa"


async def test_fair_later() -> None:
    """A call that one asks for is made in a later turn."""
    queue, made = FairTurnQueue(4, asyncio.get_running_loop()), list[int]()

    def again() -> None:
        made.append(len(made))
        queue.do_later("a", again, pytest.fail)

    queue.do_later("a", again, pytest.fail)
    for turn in range(4):
        assert len(made) == turn
        await asyncio.sleep(0)


async def test_fair_room() -> None:
    """Room is made by giving up the oldest call of the source with the most, never the only one of a source."""
    queue, made, given_up = FairTurnQueue(1, asyncio.get_running_loop()), list[str](), list[str]()
    for number, source in enumerate("xaaabbc"):
        queue.do(source, partial(made.append, source), partial(given_up.append, f"{source}{number}"))
    assert [queue.make_room() for _ in range(4)] == [True, True, True, False]
    assert given_up == ["a1", "a2", "b4"]
    for _ in range(3):
        await asyncio.sleep(0)
    assert made == ["x", "a", "b", "c"]
    assert not queue.make_room()


async def test_fair_failure() -> None:
    """A call that fails is reported, and keeps none of the others from being made."""
    queue, made, failed = FairTurnQueue(1, asyncio.get_running_loop()), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    queue.do("a", lambda: made.append(1), pytest.fail)
    queue.do("b", lambda: pytest.fail("on purpose"), pytest.fail)
    queue.do("c", lambda: made.append(2), pytest.fail)
    for _ in range(4):
        await asyncio.sleep(0)
    assert made == [1, 2]
    assert len(failed) == 1


async def test_next_turn() -> None:
    """Calls are made in the next turn, in order; those they ask for in the one after it."""
    following, made = NextTurn(asyncio.get_running_loop()), list[str]()

    def first() -> None:
        made.append("first")
        following.call_soon(lambda: made.append("third"))

    following.call_soon(first)
    following.call_soon(lambda: made.append("second"))
    assert made == []
    await asyncio.sleep(0)
    assert made == ["first", "second"]
    await asyncio.sleep(0)
    assert made == ["first", "second", "third"]


async def test_next_turn_failure() -> None:
    """A call that fails is reported, and keeps none of the others from being made."""
    following, made, failed = NextTurn(asyncio.get_running_loop()), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    following.call_soon(lambda: pytest.fail("on purpose"))
    following.call_soon(lambda: made.append(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert made == [1]
    assert len(failed) == 1


@given(st.lists(st.one_of(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), st.none()), max_size=60))
def test_round_robin(steps: list[tuple[str, int] | None]) -> None:
    """Each owner's items come out in order, and no owner has two turns while another waits."""
    queue, model = RoundRobin[int](), list[tuple[str, list[int]]]()
    for step in steps:
        if step is not None:
            owner, item = step
            queue.append(owner, item)
            waiting = next((items for other, items in model if other == owner), None)
            if waiting is None:
                model.append((owner, [item]))
            else:
                waiting.append(item)
        elif model:
            owner, items = model.pop(0)
            assert queue.first == items[0]
            assert queue.popleft() == items.pop(0)
            if items:
                model.append((owner, items))
        assert len(queue) == sum(len(items) for _, items in model)
        assert queue.size_of("a") == sum(len(items) for owner, items in model if owner == "a")


async def test_fair_most_of_one() -> None:
    """A source has so many calls in a turn, at once or after waiting, even if no other has any."""
    queue, made = FairTurnQueue(8, asyncio.get_running_loop(), most_of_one=2), list[str]()
    for _ in range(6):
        queue.do("a", partial(made.append, "a"), pytest.fail)
    assert made == ["a"] * 2
    for source in "bbbc":
        queue.do(source, partial(made.append, source), pytest.fail)
    turns_taken = []
    while len(made) < 10:
        before = len(made)
        await asyncio.sleep(0)
        turns_taken.append("".join(made[before:]))
    assert turns_taken == ["abcab", "aba"]
