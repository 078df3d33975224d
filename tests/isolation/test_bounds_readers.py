"""Who doesn't read, doesn't acknowledge costs only itself, and never more than its bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import MEBIBYTE, log_lines, memory_bytes
from tests.support.packets import PINGREQ, Kind, acknowledgement, publish
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, in_turn
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


WRITE_BUFFER_BYTES = 64 * 1024
MAX_QUEUED_BYTES = 1024 * 1024
MAX_INFLIGHT = 16
PAYLOAD = bytes(4_000)
MESSAGES = 4_000
MAX_GROWTH_BYTES = 8 * MEBIBYTE
SMALL_RECEIVE_BUFFER = 4_096


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(
        tmp_path_factory.mktemp("server"),
        write_buffer_bytes=WRITE_BUFFER_BYTES,
        max_queued_bytes=MAX_QUEUED_BYTES,
        max_inflight=MAX_INFLIGHT,
    ) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


def _publish_all(wire: Wire, listener: Wire, topic: str, qos: int) -> None:
    """Publish 16 MB, no faster than the listener, who gets all of it."""
    for start in range(0, MESSAGES, 10):
        wire.send(
            b"".join(publish(topic, b"%d " % n + PAYLOAD, qos=qos, number=n + 1) for n in range(start, start + 10))
        )
        heard = listener.hear(10)
        assert [int(message.payload.split(b" ")[0]) for message in heard] == list(range(start, start + 10))


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1])
def test_subscriber_that_does_not_read(fleet: Fleet, backend_key: Credentials, qos: int, *, websocket: bool) -> None:
    """Others get everything; memory grows by its buffer and its queue, not by what was sent."""
    device = fleet.device()
    state = device.topic("state")
    deaf_key = replace(backend_key, client_id=fleet.application().client_id)
    with (
        Wire.to(fleet) as wire,
        Wire.to(fleet) as listener,
        Wire.to(fleet, websocket=websocket, receive_buffer=SMALL_RECEIVE_BUFFER) as deaf,
    ):
        wire.enter(device)
        listener.enter(backend_key).subscribe(state, qos=qos)
        deaf.enter(deaf_key, keep_alive_seconds=0).subscribe(state, qos=qos)
        before = memory_bytes(fleet)
        _publish_all(wire, listener, state, qos)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES
        assert listener.publications() == []
    assert len(log_lines(fleet, "queue_full", client_id=deaf_key.client_id)) <= 1


@BOTH_TRANSPORTS
def test_subscriber_that_reads_again(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Once it reads, what waited comes in order, and then what is new."""
    device = fleet.device()
    state = device.topic("state")
    waiting = 100
    with (
        Wire.to(fleet) as wire,
        Wire.to(fleet, websocket=websocket, receive_buffer=SMALL_RECEIVE_BUFFER) as slow,
    ):
        wire.enter(device)
        slow.enter(backend_key).subscribe(state, qos=1)
        for number in range(waiting):
            wire.publish(state, b"%d " % number + PAYLOAD, qos=1)
        for turn in range(2):
            heard = slow.hear(waiting)
            assert [int(message.payload.split(b" ")[0]) for message in heard] == list(range(waiting))
            if not turn:
                for number in range(waiting):
                    wire.publish(state, b"%d " % number + PAYLOAD, qos=1)


@in_turn("websocket", [False, True])
def test_subscriber_that_does_not_acknowledge(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """It gets its window and no more; others get everything; memory grows by its queue."""
    device = fleet.device()
    state = device.topic("state")
    silent_key = replace(backend_key, client_id="app-silent")
    with Wire.to(fleet) as wire, Wire.to(fleet) as listener, Wire.to(fleet, websocket=websocket) as silent:
        wire.enter(device)
        listener.enter(backend_key).subscribe(state, qos=1)
        silent.enter(silent_key).subscribe(state, qos=1)
        before = memory_bytes(fleet)
        _publish_all(wire, listener, state, qos=1)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES
        assert len(silent.publications()) == MAX_INFLIGHT


def _send_again_and_again(wire: Wire, data: bytes) -> None:
    for _ in range(64 * MEBIBYTE // len(data)):
        wire.stream.send(data, 0.5)


@pytest.mark.parametrize(
    ("version", "kind", "websocket"),
    [(LEVEL_3_1_1, "pingreq", False), (LEVEL_5, "pubrel", False), (LEVEL_5, "pingreq", True)],
    indirect=["version"],
)
def test_sender_that_does_not_read_the_answers(fleet: Fleet, kind: str, *, websocket: bool) -> None:
    """Its answers pile up to its buffer; then it is not read from any more, and others are served meanwhile."""
    device, another = fleet.device(), fleet.device()
    flood = {"pingreq": PINGREQ, "pubrel": acknowledgement(Kind.PUBREL, 1)}[kind] * 10_000
    with Wire.to(fleet, websocket=websocket, receive_buffer=SMALL_RECEIVE_BUFFER) as wire, Wire.to(fleet) as other:
        other.enter(another).subscribe(another.topic("x"))
        wire.enter(device, keep_alive_seconds=0)
        before = memory_bytes(fleet)
        with pytest.raises(TimeoutError):
            _send_again_and_again(wire, flood)
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES
        other.publish(another.topic("x"), b"served")
        assert [message.payload for message in other.publications()] == [b"served"]
