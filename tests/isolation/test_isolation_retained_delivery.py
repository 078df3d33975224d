"""Retained messages come when a subscription is made, with the flag, never stale, and not again on resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Kind, unsubscribe
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet
    from tests.support.packets import Publication


MAX_INFLIGHT = 4


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with a narrow window."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=MAX_INFLIGHT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


def _flagged(heard: list[Publication]) -> list[tuple[bytes, int, bool]]:
    return [(message.payload, message.qos, message.retain) for message in heard]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_flag(fleet: Fleet, backend_key: Credentials, qos: int, *, websocket: bool) -> None:
    """1 for a new subscription, also when it replaces one; 0 for who is subscribed already (3.3.1-8, 3.3.1-9)."""
    device = fleet.device()
    state = device.topic("state")
    with (
        Wire.to(fleet) as wire,
        Wire.to(fleet, websocket=websocket) as early,
        Wire.to(fleet, websocket=websocket) as late,
    ):
        early.enter(backend_key).subscribe(state, qos=2)
        wire.enter(device).publish(state, b"old", qos=qos, retain=True)
        wire.publish(state, b"new", qos=qos, retain=True)
        assert _flagged(early.hear(2)) == [(b"old", qos, False), (b"new", qos, False)]
        late.enter(fleet.application())
        for granted in (2, 0):
            late.subscribe(state, qos=granted)
            assert _flagged(late.hear()) == [(b"new", min(qos, granted), True)]
        wire.publish(state, b"live", qos=qos)
        assert _flagged(late.hear()) == [(b"live", 0, False)]
        late.subscribe(device.topic("+"), qos=0)
        assert _flagged(late.publications()) == [(b"new", 0, True)]


@BOTH_TRANSPORTS
def test_retained_on_resume(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Coming back to a session brings no retained message again; subscribing again does."""
    device = fleet.device()
    with Wire.to(fleet) as backend:
        backend.enter(backend_key).publish(device.topic("config"), b"kept", qos=1, retain=True)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("config"), qos=1)
        assert _flagged(wire.hear()) == [(b"kept", 1, True)]
        wire.disconnect()
    with Wire.to(fleet, websocket=websocket) as wire:
        assert wire.enter(device, clean=False).is_session_present
        assert wire.publications() == []
        wire.subscribe(device.topic("config"), qos=1)
        assert _flagged(wire.hear()) == [(b"kept", 1, True)]


@BOTH_TRANSPORTS
def test_retained_cleared(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """An empty one clears, is delivered to who is there without the flag, and is not kept (3.3.1-10, 3.3.1-11)."""
    device = fleet.device()
    state = device.topic("state")
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend:
        backend.enter(backend_key).subscribe(state, qos=1)
        wire.enter(device)
        for qos in (0, 1, 2):
            wire.publish(state, b"kept", qos=1, retain=True)
            wire.publish(state, b"", qos=qos, retain=True)
            assert _flagged(backend.hear(2)) == [(b"kept", 1, False), (b"", min(qos, 1), False)]
            backend.subscribe(device.topic("#"), qos=1)
            assert backend.publications() == []
            backend.ask(unsubscribe(1, device.topic("#")), Kind.UNSUBACK)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("newer", [b"new", b""], ids=["replaced", "cleared"])
def test_retained_never_after_a_newer_one(
    fleet: Fleet, backend_key: Credentials, newer: bytes, *, websocket: bool
) -> None:
    """However long a subscriber takes for what is retained, of one topic it never gets an older message last."""
    device = fleet.device()
    topics = [device.topic(f"state/{number}") for number in range(5 * MAX_INFLIGHT)]
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(device)
        for topic in topics:
            wire.publish(topic, b"old", qos=1, retain=True)
        backend.enter(backend_key).subscribe(device.topic("#"), qos=1)
        first = backend.hear(MAX_INFLIGHT, acknowledges=False)
        for topic in topics:
            wire.publish(topic, newer, qos=1, retain=True)
        for message in first:
            backend.acknowledge(message)
        heard = first + backend.hear(2 * len(topics) - MAX_INFLIGHT, seconds=2)
        for topic in topics:
            assert [message.payload for message in heard if message.topic == topic][-1] == newer
        assert {message.topic for message in heard} == set(topics)
