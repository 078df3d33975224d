"""Listening to topics: a session of the server's own, its bounds, and what is left of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason
from fleetkey.broker.tap import MAX_TAPPED_BYTES, MAX_TAPPED_MESSAGES, tapped
from tests.unit.broker.rig import Parts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fleetkey.broker.engine import TappedMessage


def _tap(parts: Parts, *filters: str) -> AsyncGenerator[TappedMessage]:
    return tapped(parts.sessions, filters)  # type: ignore[return-value] # a generator, so that it can be closed


async def test_retained_and_live(parts: Parts) -> None:
    """What is retained comes first, then what is published, at whatever QoS; nothing of other topics."""
    parts.retain("a/kept", b"kept", 2)
    parts.retain("b/kept")
    async with aclosing(_tap(parts, "a/#")) as tap:
        first = await anext(tap)
        assert (first.topic, first.payload, first.missed) == ("a/kept", b"kept", 0)
        parts.publish("b/x")
        for qos in range(3):
            parts.publish("a/x", b"%d" % qos, qos)
        assert [(await anext(tap)).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_several_filters(parts: Parts) -> None:
    """One message comes once, however many of them match."""
    async with aclosing(_tap(parts, "a/#", "+/x", "b")) as tap:
        begun = asyncio.ensure_future(anext(tap))
        await asyncio.sleep(0)
        for topic in ("a/x", "b"):
            parts.publish(topic)
        assert (await begun).topic == "a/x"
        assert (await anext(tap)).topic == "b"


async def test_long_message(parts: Parts) -> None:
    """A topic and payload of any length come whole."""
    async with aclosing(_tap(parts, "#")) as tap:
        begun = asyncio.ensure_future(anext(tap))
        await asyncio.sleep(0)
        parts.publish("ü/" * 300 + "x", bytes(70_000))
        message = await begun
        assert (message.topic, len(message.payload)) == ("ü/" * 300 + "x", 70_000)


@pytest.mark.parametrize(
    ("size", "count"),
    [
        pytest.param(1, MAX_TAPPED_MESSAGES, id="messages"),
        pytest.param(MAX_TAPPED_BYTES // 10, 9, id="bytes"),
        pytest.param(2 * MAX_TAPPED_BYTES, 1, id="longer_than_all"),
    ],
)
async def test_missed(parts: Parts, size: int, count: int) -> None:
    """Whoever is slower than they come gets the newest, and hears how many are missing."""
    async with aclosing(_tap(parts, "x", "begin")) as tap:
        begun = asyncio.ensure_future(anext(tap))
        await asyncio.sleep(0)
        parts.publish("begin")
        await begun
        for _ in range(count + 5):
            parts.publish("x", bytes(size))
        parts.loop.settle()
        messages = [await anext(tap) for _ in range(count)]
        assert [message.missed for message in messages] == [5] + [0] * (count - 1)


async def test_closed(parts: Parts) -> None:
    """Nothing is left when the iterator is closed, and nothing was ever stored."""
    tap = _tap(parts, "a/#")
    parts.retain("a/x")
    before = parts.store.position
    await anext(tap)
    (session,) = parts.sessions
    await tap.aclose()
    parts.publish("a/x")
    parts.loop.settle()
    assert session.is_over
    assert len(parts.sessions) == 0
    assert parts.trie._root.is_empty
    assert parts.store.position == before


async def test_ended(parts: Parts) -> None:
    """When the broker ends it, what came before still comes, then the iterator is over."""
    tap = _tap(parts, "a/#")
    for number in range(2):
        parts.retain(f"a/{number}")
    await anext(tap)
    (session,) = parts.sessions
    assert session.connection is not None
    session.connection.close(Reason.SERVER_SHUTTING_DOWN)
    assert [message.topic async for message in tap] == ["a/1"]
    assert len(parts.sessions) == 0
