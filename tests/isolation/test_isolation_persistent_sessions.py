"""A clean session leaves nothing; a persistent one keeps everything until its time is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import log_lines
from tests.support.packets import Kind, Publication, acknowledgement, number_of, publish
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


SESSION_EXPIRY_SECONDS = 2
MAX_INFLIGHT = 8


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=MAX_INFLIGHT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


def _duplicate(topic: str, payload: bytes, number: int) -> bytes:
    """Return a PUBLISH of QoS 2 that is sent again (3.3.1.1)."""
    return publish(topic, payload, qos=2, number=number, dup=True)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("end", ["disconnect", "drop", "clean_start"])
def test_clean_session_leaves_nothing(fleet: Fleet, backend_key: Credentials, end: str, *, websocket: bool) -> None:
    """Neither subscription nor queue nor unfinished handshake; a clean start ends a persistent session likewise."""
    device = fleet.device()
    is_clean = end != "clean_start"
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key)
        wire.enter(device, clean=is_clean).subscribe(device.topic("command"), qos=2)
        for qos in (1, 2):
            backend.publish(device.topic("command"), b"not acknowledged", qos=qos)
        assert len(wire.hear(2, acknowledges=False)) == 2
        wire.ask(publish(device.topic("x"), b"x", qos=2, number=9), Kind.PUBREC)
        if end == "drop":
            wire.close()
        else:
            wire.disconnect()
        if end == "clean_start":
            with Wire.to(fleet, websocket=websocket) as start:
                assert not start.enter(device, clean=True).is_session_present
                start.disconnect()
        for qos in (1, 2):
            backend.publish(device.topic("command"), b"unheard", qos=qos)
        for clean in (False, True):
            with Wire.to(fleet, websocket=websocket) as back:
                assert not back.enter(device, clean=clean).is_session_present
                assert back.publications() == []
                backend.publish(device.topic("command"), b"unheard", qos=1)
                back.subscribe(device.topic("x"))
                # The id of the unfinished handshake is free: this is a new message.
                back.ask(_duplicate(device.topic("x"), b"new", 9), Kind.PUBREC)
                assert [message.payload for message in back.publications()] == [b"new"]
                back.disconnect()
            if not clean:
                with Wire.to(fleet) as start:
                    start.enter(device).disconnect()


@BOTH_TRANSPORTS
def test_persistent_session_keeps_everything(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Subscriptions, unacknowledged and queued messages of QoS 1 and 2, in order, DUP on what was sent before."""
    device = fleet.device()
    command = device.topic("command")
    count = 3 * MAX_INFLIGHT
    with Wire.to(fleet) as backend:
        backend.enter(backend_key)
        with Wire.to(fleet, websocket=websocket) as wire:
            assert not wire.enter(device, clean=False).is_session_present
            assert wire.subscribe(command, qos=2) == [2]
            for number in range(count):
                backend.publish(command, b"%d" % number, qos=1 + number % 2)
            first = wire.hear(MAX_INFLIGHT, acknowledges=False)
            assert wire.publications() == []
            wire.disconnect()
        for number in range(count, count + 10):
            backend.publish(command, b"%d" % number, qos=1 + number % 2)
    with Wire.to(fleet, websocket=websocket) as back:
        assert back.enter(device, clean=False).is_session_present
        again = back.hear(MAX_INFLIGHT)
        assert [(m.payload, m.qos, m.number) for m in again] == [(m.payload, m.qos, m.number) for m in first]
        assert all(message.dup for message in again)
        assert not any(message.dup for message in first)
        rest = back.hear(count + 10 - MAX_INFLIGHT)
        assert [int(message.payload) for message in rest] == list(range(MAX_INFLIGHT, count + 10))
        assert [message.qos for message in rest] == [1 + n % 2 for n in range(MAX_INFLIGHT, count + 10)]
        assert not any(message.dup for message in rest)
        back.publish(command, b"live")
        assert [message.payload for message in back.publications()] == [b"live"]
        back.disconnect()
    with Wire.to(fleet) as last:
        assert last.enter(device, clean=False).is_session_present
        assert last.publications() == []


@BOTH_TRANSPORTS
def test_handshake_that_the_receiver_left(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Before PUBREC the message comes again with DUP and its id; after it PUBREL alone, until PUBCOMP (4.4.0-1)."""
    device = fleet.device()
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("command"), qos=2)
        with Wire.to(fleet) as backend:
            backend.enter(backend_key).publish(device.topic("command"), b"once", qos=2)
        (first,) = wire.hear(acknowledges=False)
        wire.close()
    for _ in range(2):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, clean=False)
            assert wire.hear(acknowledges=False) == [
                Publication(first.topic, b"once", 2, retain=False, dup=True, number=first.number)
            ]
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False)
        wire.hear(acknowledges=False)
        wire.ask(acknowledgement(Kind.PUBREC, first.number), Kind.PUBREL)
    for turn in range(3):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, clean=False)
            assert wire.receive(Kind.PUBREL).body == first.number.to_bytes(2, "big")
            if turn == 2:
                wire.send(acknowledgement(Kind.PUBCOMP, first.number))
            assert wire.publications() == []
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).send(b"\xc0\0")
        answer = wire.read()
        assert answer is not None
        assert answer.kind == 13, "nothing but PINGRESP is left"


@BOTH_TRANSPORTS
def test_handshake_that_the_sender_left(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """A message that comes again with its id is answered and not delivered again, until PUBREL ends it (4.3.3)."""
    device = fleet.device()
    state = device.topic("state")
    with Wire.to(fleet) as backend:
        backend.enter(backend_key).subscribe(state, qos=2)
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, clean=False)
            wire.ask(publish(state, b"once", qos=2, number=7), Kind.PUBREC)
        for _ in range(2):
            with Wire.to(fleet, websocket=websocket) as wire:
                assert wire.enter(device, clean=False).is_session_present
                assert wire.ask(_duplicate(state, b"once", 7), Kind.PUBREC).body == b"\0\7"
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, clean=False)
            for _ in range(2):
                assert number_of(wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)) == 7
            wire.ask(publish(state, b"another", qos=2, number=7), Kind.PUBREC)
            wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)
        assert [message.payload for message in backend.hear(2)] == [b"once", b"another"]
        assert backend.publications() == []


@BOTH_TRANSPORTS
def test_message_that_is_never_acknowledged(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """It comes again at every return, and an acknowledgement that is late by connections still counts."""
    device = fleet.device()
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
        with Wire.to(fleet) as backend:
            backend.enter(backend_key).publish(device.topic("command"), b"insists", qos=1)
        (first,) = wire.hear(acknowledges=False)
    for turn in range(5):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, clean=False)
            (again,) = wire.hear(acknowledges=False)
            assert (again.payload, again.number, again.dup) == (b"insists", first.number, True)
            assert wire.publications() == []
            if turn == 4:
                wire.send(acknowledgement(Kind.PUBACK, first.number))
                wire.publications()
    with Wire.to(fleet, websocket=websocket) as wire:
        assert wire.enter(device, clean=False).is_session_present
        assert wire.publications() == []


@BOTH_TRANSPORTS
def test_qos_0_to_an_absent_session(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """What was sent at QoS 0, or subscribed to at QoS 0, while nobody was there doesn't push out what must wait."""
    device = fleet.device()
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("a"), qos=1)
        wire.disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(backend_key)
        for _ in range(3):
            backend.publish(device.topic("a"), b"zero", qos=0)
        backend.publish(device.topic("a"), b"one", qos=1)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False)
        assert [message.payload for message in wire.publications() if message.qos] == [b"one"]


def test_session_whose_time_is_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kept for `session_expiry_seconds` after the connection's end, then gone, also across a restart."""
    with running(tmp_path_factory.mktemp("server"), session_expiry_seconds=SESSION_EXPIRY_SECONDS) as fleet:
        early, late, offline = fleet.device(), fleet.device(), fleet.device()
        with Wire.to(fleet) as backend, Wire.to(fleet) as stays:
            backend.enter(fleet.application())
            stays.enter(fleet.device(), clean=False)
            for device in (early, late, offline):
                with Wire.to(fleet) as wire:
                    wire.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
                backend.publish(device.topic("command"), b"queued", qos=1)
            with Wire.to(fleet) as wire:
                assert wire.enter(early, clean=False).is_session_present
                assert [message.payload for message in wire.hear()] == [b"queued"]
            assert eventually(
                lambda: log_lines(fleet, "session_expired", client_id=late.client_id), SESSION_EXPIRY_SECONDS + 2
            )
            with Wire.to(fleet) as wire:
                assert not wire.enter(late, clean=False).is_session_present
                assert wire.publications() == []
            stays.publications()
        fleet.server.terminate()
        time.sleep(SESSION_EXPIRY_SECONDS)
        fleet.server.start()
        with Wire.to(fleet) as wire:
            assert not wire.enter(offline, clean=False).is_session_present
            assert wire.publications() == []
