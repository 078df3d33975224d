"""While retained messages are still being sent to a subscriber, everything else keeps its order and its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Kind, subscribe
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

MAX_QUEUED = 20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with a window of one."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=1, max_queued_messages=MAX_QUEUED) as fleet:
        yield fleet


@pytest.fixture
def replaying(fleet: Fleet) -> Iterator[tuple[Credentials, Wire, Wire]]:
    """Return a device, its connection, and a back end that is sent two retained messages, one at a time."""
    device = fleet.device()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(device)
        for name in "ab":
            wire.publish(device.topic(name), b"old", qos=1, retain=True)
        backend.enter(fleet.application()).subscribe(device.topic("#"), qos=1)
        yield device, wire, backend


def test_cleared_meanwhile(replaying: tuple[Credentials, Wire, Wire]) -> None:
    """What clears a topic doesn't overtake what was published to it before, nor does what comes after it."""
    device, wire, backend = replaying
    wire.publish(device.topic("a"), b"1")
    wire.publish(device.topic("a"), b"", retain=True)
    wire.publish(device.topic("a"), b"2")
    live = [m.payload for m in backend.hear(5, 1) if m.topic == device.topic("a") and not m.retain]
    assert live == [b"1", b"", b"2"]


def test_messages_behind(replaying: tuple[Credentials, Wire, Wire]) -> None:
    """Messages that waited behind retained ones are not overtaken when those are all sent."""
    device, wire, backend = replaying
    for payload, qos in ((b"q1", 1), (b"q2", 1), (b"first", 0)):
        wire.publish(device.topic("a"), payload, qos=qos)
    for _ in range(2):
        backend.acknowledge(backend.hear(1, acknowledges=False)[0])
    heard = backend.publications()
    wire.publish(device.topic("a"), b"second")
    heard += backend.publications()
    for message in heard:
        if message.qos:
            backend.acknowledge(message)
    heard += backend.hear(3, 1)
    assert [message.payload for message in heard if not message.qos] == [b"first", b"second"]


def test_subscribed_again(replaying: tuple[Credentials, Wire, Wire]) -> None:
    """A retained message that came between two subscriptions comes with the flag after the second (3.8.4-3)."""
    device, wire, backend = replaying
    for name in "cb":
        wire.publish(device.topic(name), b"new", qos=1, retain=True)
    backend.subscribe(device.topic("#"), qos=1)
    flagged = {(m.topic, m.payload) for m in backend.hear(20, 1) if m.retain}
    assert {(device.topic("c"), b"new"), (device.topic("b"), b"new")} <= flagged


def test_away(fleet: Fleet) -> None:
    """For a session without a client, QoS 0 messages take no room from the others."""
    device, application = fleet.device(), fleet.application()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(device)
        for name in "ab":
            wire.publish(device.topic(name), b"old", qos=1, retain=True)
        backend.enter(application, clean=False).subscribe(device.topic("#"), qos=1)
        backend.disconnect()
        for number in range(MAX_QUEUED):
            wire.publish(device.topic("a"), b"%d" % number)
        wire.publish(device.topic("c"), b"important", qos=1)
    with Wire.to(fleet) as backend:
        backend.enter(application, clean=False)
        assert b"important" in [message.payload for message in backend.hear(30, 1)]


def test_malformed_subscribe(fleet: Fleet) -> None:
    """A SUBSCRIBE with one ill-formed filter changes nothing of a persistent session."""
    device, application = fleet.device(), fleet.application()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        backend.enter(application, clean=False)
        backend.send(subscribe(1, device.topic("x"), "devices/#/x", qos=1))
        assert backend.find(Kind.SUBACK) is None
        wire.enter(device).publish(device.topic("x"), b"unasked", qos=1)
    with Wire.to(fleet) as backend:
        assert backend.enter(application, clean=False).publications() == []
