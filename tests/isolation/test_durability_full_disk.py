"""A disk that takes no more: nothing new is stored or said to be, what needs no disk goes on, and it recovers.

The disk is made full for real, for the server's process alone: a bound on the size of its files (`RLIMIT_FSIZE`), at
which the writes to `broker.db-wal` fail.
"""

from __future__ import annotations

import resource
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import MEBIBYTE, log_lines, memory_bytes
from tests.support.packets import Kind, acknowledgement, connect, publish, subscribe
from tests.support.reasons import Says
from tests.support.versions import only_3_1_1, only_5
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


GROUP_COMMIT_SECONDS = 0.05
REFUSED = 0x80
SERVER_UNAVAILABLE = 3
STORED_PAYLOAD = bytes(8_000)
ROOM_FOR_THE_LOG = 100_000
MOST_WRITES = 200


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("server")) as fleet:
        yield fleet


@pytest.fixture
def people(fleet: Fleet) -> tuple[Credentials, Credentials]:
    """Enrol a device and a back end that both have been here, so that letting them in needs no write."""
    device, backend = fleet.device(), fleet.application()
    for who in (device, backend):
        with Wire.to(fleet) as wire:
            wire.enter(who).disconnect()
    return device, backend


@contextmanager
def _full_disk(fleet: Fleet) -> Iterator[None]:
    """Let the server's files grow no more: first a bound, then the writes that reach it; wait until it recovered."""
    device, recovered = fleet.device(), len(log_lines(fleet, "broker_store_recovered"))
    with Wire.to(fleet) as wire:
        wire.enter(device)
        pid, room = fleet.server.process.pid, fleet.server.log.stat().st_size + ROOM_FOR_THE_LOG
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            assert any(_is_refused(wire, device.topic("x")) for _ in range(MOST_WRITES)), "the disk doesn't get full"
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert eventually(lambda: len(log_lines(fleet, "broker_store_recovered")) == recovered + 1)


def _is_refused(wire: Wire, topic: str) -> bool:
    """Let the broker write as little as it can, one page."""
    wire.send(publish(topic, b"x", qos=1, retain=True))
    return wire.find(Kind.PUBACK) is None


def _absent(fleet: Fleet, who: Credentials, topic: str) -> None:
    """Let a persistent session wait for a topic."""
    with Wire.to(fleet) as wire:
        wire.enter(who, clean=False).subscribe(topic, qos=2)
        wire.disconnect()


def test_live_traffic_goes_on(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """Connected clean sessions exchange messages at every QoS, and others come in, as if nothing were."""
    device, backend_key = people
    with Wire.to(fleet) as backend, Wire.to(fleet) as storing, Wire.to(fleet) as wire:
        backend.enter(backend_key).subscribe(device.topic("state"), qos=2)
        storing.enter(fleet.device(), clean=False)
        wire.enter(device)
        with _full_disk(fleet):
            storing.send(subscribe(1, "devices/x"))
            for number in range(60):
                wire.publish(device.topic("state"), b"%d" % number, qos=number % 3)
            heard = backend.hear(60)
            for qos in (0, 1, 2):
                assert [int(m.payload) for m in heard if m.qos == qos] == list(range(qos, 60, 3))
            with Wire.to(fleet) as again:
                again.enter(device).subscribe(device.topic("x"), qos=1)
                assert wire.is_told(Says.TAKEN_OVER)
                again.publish(device.topic("state"), b"again", qos=2)
            assert [message.payload for message in backend.hear()] == [b"again"]


@pytest.mark.parametrize("kind", ["queued_1", "queued_2", "retained"])
def test_new_storage_is_refused(fleet: Fleet, people: tuple[Credentials, Credentials], kind: str) -> None:
    """What would have to be stored isn't acknowledged; the sender finds its connection closed, and tries again."""
    device, backend_key = people
    _absent(fleet, backend_key, device.topic("state"))
    requests = {
        "queued_1": (publish(device.topic("state"), STORED_PAYLOAD, qos=1), Kind.PUBACK),
        "queued_2": (publish(device.topic("state"), STORED_PAYLOAD, qos=2), Kind.PUBREC),
        "retained": (publish(device.topic("other"), STORED_PAYLOAD, qos=1, retain=True), Kind.PUBACK),
    }
    request, answer = requests[kind]
    with _full_disk(fleet), Wire.to(fleet) as wire:
        wire.enter(device).send(request)
        assert wire.find(answer) is None
        assert wire.is_told(Says.BUSY)
    with Wire.to(fleet) as wire:
        wire.enter(device).ask(request, answer)
        wire.disconnect()


def test_new_sessions_are_refused(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """A session that is kept gets no further subscriptions, and no new one begins; a clean one may do both."""
    device, backend_key = people
    _absent(fleet, device, device.topic("x"))
    topic = device.topic("y")
    with _full_disk(fleet), Wire.to(fleet) as wire, Wire.to(fleet) as new, Wire.to(fleet) as clean:
        assert wire.enter(device, clean=False).subscribe(topic, qos=1) == [REFUSED]
        attempt = connect(backend_key.client_id, backend_key.key, backend_key.secret, clean=False)
        assert new.log_in(attempt) == SERVER_UNAVAILABLE
        assert clean.enter(backend_key).subscribe(topic, qos=1) == [1]
    with Wire.to(fleet) as wire, Wire.to(fleet) as new:
        assert wire.enter(device, clean=False).subscribe(topic, qos=1) == [1]
        assert not new.enter(backend_key, clean=False).is_session_present


@only_5
def test_retained_messages_take_no_memory(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """Retained messages at QoS 0 are passed on, and otherwise forgotten, however many there are."""
    device, backend_key = people
    state, count = device.topic("state"), 300
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(backend_key).subscribe(state)
        wire.enter(device).publish(state, b"kept", qos=1, retain=True)
        backend.hear()
        with _full_disk(fleet):
            before = memory_bytes(fleet)
            for _ in range(count):
                wire.publish(state, bytes(200_000), retain=True)
                assert len(backend.hear()) == 1
            assert memory_bytes(fleet) - before < 16 * MEBIBYTE
    with Wire.to(fleet) as wire:
        wire.enter(backend_key).subscribe(state)
        assert [message.payload for message in wire.hear()] == [b"kept"]
    (line,) = [line for line in log_lines(fleet, "bound_reached") if line.get("owner") == device.device_id]
    assert line["bound"] == "store_failing"


def test_one_line_tells(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """One line says that storing fails, however often it does, and one that it works again."""
    device, backend_key = people
    _absent(fleet, backend_key, device.topic("state"))
    failed, recovered = (len(log_lines(fleet, f"broker_store_{what}")) for what in ("failed", "recovered"))
    with _full_disk(fleet):
        for _ in range(20):
            with Wire.to(fleet) as wire:
                wire.enter(device).send(publish(device.topic("state"), STORED_PAYLOAD, qos=1))
                assert wire.find(Kind.PUBACK) is None
        assert len(log_lines(fleet, "broker_store_failed")) == failed + 1
        assert len(log_lines(fleet, "broker_store_recovered")) == recovered
    with Wire.to(fleet) as wire:
        wire.enter(device).publish(device.topic("state"), STORED_PAYLOAD, qos=1)
    assert eventually(lambda: len(log_lines(fleet, "broker_store_recovered")) == recovered + 1)
    assert len(log_lines(fleet, "broker_store_failed")) == failed + 1
    assert log_lines(fleet, "broker_store_failed")[-1]["level"] == "error"


@only_3_1_1
def test_memory_stays_flat(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """Trying again and again fills the memory no more than the bounds of a queue allow."""
    device, backend_key = people
    _absent(fleet, backend_key, device.topic("state"))
    with _full_disk(fleet):
        for turn in range(60):
            with Wire.to(fleet) as wire:
                wire.enter(device).send(publish(device.topic("state"), bytes(200_000), qos=1))
                # Closed while it would be stored; acknowledged and dropped when the queue is at its bound.
                wire.read()
            if turn == 30:
                before = memory_bytes(fleet)
        assert memory_bytes(fleet) - before < 4 * MEBIBYTE


def _restart(fleet: Fleet) -> None:
    sleep(GROUP_COMMIT_SECONDS)
    fleet.server.kill9()
    fleet.server.start()


def test_what_was_tried_again_is_kept(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """After the disk has room, an acknowledgement means what it says: also a kill -9 later the message is there."""
    device, backend_key = people
    state = device.topic("state")
    _absent(fleet, backend_key, state)
    with _full_disk(fleet), Wire.to(fleet) as wire:
        wire.enter(device).send(publish(state, STORED_PAYLOAD, qos=1, retain=True))
        assert wire.find(Kind.PUBACK) is None
    with Wire.to(fleet) as wire:
        wire.enter(device).publish(state, STORED_PAYLOAD, qos=1, retain=True)
    _restart(fleet)
    with Wire.to(fleet) as wire:
        assert wire.enter(backend_key, clean=False).is_session_present
        assert [message.payload for message in wire.hear()] == [STORED_PAYLOAD]
        wire.subscribe(state)
        assert wire.publications()[-1].retain


def test_qos_2_that_was_tried_again_is_kept(fleet: Fleet, people: tuple[Credentials, Credentials]) -> None:
    """The same for a QoS 2 message that is sent again under its id, by a session that was there before."""
    device, backend_key = people
    state = device.topic("state")
    _absent(fleet, backend_key, state)
    _absent(fleet, device, device.topic("x"))
    with _full_disk(fleet), Wire.to(fleet) as wire:
        wire.enter(device, clean=False).send(publish(state, STORED_PAYLOAD, qos=2, number=7))
        assert wire.find(Kind.PUBREC) is None
    with Wire.to(fleet) as wire:
        wire.enter(device, clean=False)
        wire.ask(publish(state, STORED_PAYLOAD, qos=2, number=7, dup=True), Kind.PUBREC)
        wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)
    _restart(fleet)
    with Wire.to(fleet) as wire:
        assert wire.enter(backend_key, clean=False).is_session_present
        assert [message.payload for message in wire.hear()] == [STORED_PAYLOAD]
