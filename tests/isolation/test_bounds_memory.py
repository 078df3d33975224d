"""Whoever asks for ever more, or always for something new, doesn't fill the memory."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import MEBIBYTE, memory_bytes
from tests.support.packets import PINGREQ, Kind, Will, acknowledgement, publish, subscribe, unsubscribe
from tests.support.streams import PING_FRAME, WebSocketStream, frame
from tests.support.versions import in_turn, only_5
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


MAX_GROWTH_BYTES = 6 * MEBIBYTE
MAX_RETAINED = 100
REQUESTS = 600
SMALL_RECEIVE_BUFFER = 4_096


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server for one test, so that it has no room left from the one before."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=16, max_retained=MAX_RETAINED) as fleet:
        yield fleet


@only_5
def test_thousands_of_clean_sessions(fleet: Fleet) -> None:
    """Sessions that came, subscribed, published and went leave nothing."""
    application = fleet.application()

    def come_and_go(numbers: range) -> None:
        for number in numbers:
            # A topic of its own for each, nearly as long as topics may be.
            topic = f"devices/{number:024x}/".ljust(1_000, "x")
            with Wire.to(fleet) as wire:
                wire.enter(replace(application, client_id=f"app-{number}"), will=Will(topic, b"gone"))
                wire.subscribe(topic, qos=1)
                wire.publish(topic, bytes(100), qos=1)
                wire.disconnect()

    come_and_go(range(500))
    before = memory_bytes(fleet)
    come_and_go(range(500, 3_500))
    assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES


@in_turn("qos", [0, 1])
def test_retained_asked_for_again_and_again(fleet: Fleet, qos: int) -> None:
    """A device that subscribes thousands of times to all it retains, and neither reads nor acknowledges."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        for number in range(MAX_RETAINED):
            wire.publish(device.topic(f"kept/{number}"), b"kept", qos=1, retain=True)
    with Wire.to(fleet, receive_buffer=SMALL_RECEIVE_BUFFER) as asker, Wire.to(fleet) as other:
        another = fleet.device()
        other.enter(another)
        asker.enter(device, keep_alive_seconds=0)
        before = most = memory_bytes(fleet)
        request = subscribe(1, *([device.topic("#")] * 10), qos=qos)
        with suppress(TimeoutError, ConnectionError):
            for _ in range(REQUESTS):
                asker.stream.send(request, 0.5)
        for _ in range(30):
            other.publications()
            most = max(most, memory_bytes(fleet))
            time.sleep(0.05)
        assert most - before < MAX_GROWTH_BYTES


@in_turn("kind", ["pingreq", "pubrel"])
def test_answers_that_nobody_reads(fleet: Fleet, kind: str) -> None:
    """Bytes that wait for a client cost about `write_buffer_bytes`, a mebibyte by default, in however small packets."""
    flood = {"pingreq": PINGREQ, "pubrel": acknowledgement(Kind.PUBREL, 1)}[kind] * 10_000
    with Wire.to(fleet, receive_buffer=SMALL_RECEIVE_BUFFER) as wire:
        wire.enter(fleet.device(), keep_alive_seconds=0)
        before = memory_bytes(fleet)
        with suppress(TimeoutError):
            for _ in range(64 * MEBIBYTE // len(flood)):
                wire.stream.send(flood, 0.5)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES


@only_5
def test_topics_without_end(fleet: Fleet) -> None:
    """What is remembered about topics has a bound: a device may invent new ones all the time."""
    device = fleet.device()
    with Wire.to(fleet) as wire, Wire.to(fleet) as other:
        wire.enter(device)
        other.enter(fleet.application()).subscribe(device.topic("end"))

        def invent(count: int, name: str) -> None:
            for start in range(0, count, 100):
                topics = (device.topic(f"{name}{number}/").ljust(1_000, "x") for number in range(start, start + 100))
                wire.send(b"".join(publish(topic, b"") for topic in topics))
            wire.publish(device.topic("end"), b"end")
            assert len(other.hear()) == 1

        invent(60_000, "a")
        before = memory_bytes(fleet)
        invent(60_000, "b")
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES


def test_filters_that_come_and_go(fleet: Fleet) -> None:
    """Subscribing and unsubscribing without end leaves nothing of the filters."""
    with Wire.to(fleet) as wire:
        wire.enter(fleet.application())

        def come_and_go(count: int) -> None:
            for start in range(0, count, 50):
                filters = [f"devices/+/{number}/".ljust(900, "x") for number in range(start, start + 50)]
                assert wire.subscribe(*filters) == [0] * 50
                wire.ask(unsubscribe(1, *filters), Kind.UNSUBACK)

        come_and_go(500)
        before = memory_bytes(fleet)
        come_and_go(6_000)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES


@pytest.mark.parametrize("is_in", [True, False], ids=["admitted", "unknown"])
def test_pongs_that_nobody_reads(fleet: Fleet, *, is_in: bool) -> None:
    """WebSocket pings of a client that doesn't read their answers cost no more than other answers."""
    pings = frame(bytes(125), PING_FRAME) * 250
    with Wire.to(fleet, websocket=True, receive_buffer=SMALL_RECEIVE_BUFFER) as wire:
        if is_in:
            wire.enter(fleet.device(), keep_alive_seconds=0)
        assert isinstance(wire.stream, WebSocketStream)
        before = memory_bytes(fleet)
        with suppress(TimeoutError, ConnectionError):
            for _ in range(1_500):
                wire.stream.under.send(pings, 0.5)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES
