"""What one session may have: at each bound the standard's answer, one log line, and nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import log_lines
from tests.support.packets import Kind, publish, unsubscribe
from tests.support.reasons import Says
from tests.support.versions import only_5
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


REFUSED = 0x80
MAX_INFLIGHT, MAX_QUEUED, MAX_QUEUED_BYTES, MAX_UNRELEASED = 4, 10, 20_000, 5
MAX_FILTERS, MAX_APPLICATION_FILTERS, MAX_RETAINED = 5, 8, 5
FLOOD = 60
TWICE_REACHED = {1, 2}
"""Log lines where a bound is reached, left and reached again."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose bounds are easily reached."""
    with running(
        tmp_path_factory.mktemp("server"),
        max_inflight=MAX_INFLIGHT,
        max_queued_messages=MAX_QUEUED,
        max_queued_bytes=MAX_QUEUED_BYTES,
        max_unreleased=MAX_UNRELEASED,
        max_subscriptions_per_device=MAX_FILTERS,
        max_subscriptions_per_application=MAX_APPLICATION_FILTERS,
        max_retained=MAX_RETAINED,
    ) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [1, 2])
def test_max_inflight(fleet: Fleet, backend_key: Credentials, qos: int, *, websocket: bool) -> None:
    """So many messages are sent without an acknowledgement; each acknowledgement brings one more, in order."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key)
        wire.enter(device).subscribe(device.topic("command"), qos=qos)
        for number in range(MAX_INFLIGHT + MAX_QUEUED):
            backend.publish(device.topic("command"), b"%d" % number, qos=qos)
        heard = wire.publications()
        assert [int(message.payload) for message in heard] == list(range(MAX_INFLIGHT))
        for number in range(MAX_QUEUED):
            wire.acknowledge(heard[number])
            heard += wire.publications()
            assert [int(message.payload) for message in heard] == list(range(MAX_INFLIGHT + number + 1))


@BOTH_TRANSPORTS
@pytest.mark.parametrize("is_away", [True, False], ids=["away", "not_acknowledging"])
def test_max_queued_messages(fleet: Fleet, backend_key: Credentials, *, is_away: bool, websocket: bool) -> None:
    """So many wait; further ones are acknowledged to their sender and dropped, said once; later there is room again."""
    device = fleet.device()
    kept = MAX_QUEUED if is_away else MAX_QUEUED + MAX_INFLIGHT
    command = device.topic("command")
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key)
        wire.enter(device, clean=False).subscribe(command, qos=1)
        if is_away:
            wire.disconnect()
        for number in range(FLOOD):
            backend.publish(command, b"%d" % number, qos=1)
        assert len(log_lines(fleet, "queue_full", client_id=device.client_id)) == 1
        if is_away:
            wire = Wire.to(fleet, websocket=websocket)  # noqa: PLW2901 - the same client, back again
            assert wire.enter(device, clean=False).is_session_present
        with wire:
            assert [int(message.payload) for message in wire.hear(kept)] == list(range(kept))
            assert wire.publications() == []
            backend.publish(command, b"room again", qos=1)
            assert [message.payload for message in wire.hear()] == [b"room again"]


def test_max_queued_bytes(fleet: Fleet, backend_key: Credentials) -> None:
    """Bytes count as well as messages: a long one is dropped where a short one still has room."""
    device = fleet.device()
    command = device.topic("command")
    with Wire.to(fleet) as wire:
        wire.enter(device, clean=False).subscribe(command, qos=1)
        wire.disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(backend_key)
        for number in range(4):
            backend.publish(command, b"%d" % number * 6_000, qos=1)
        backend.publish(command, b"short", qos=1)
        backend.publish(command, bytes(MAX_QUEUED_BYTES + 1), qos=1)
    assert len(log_lines(fleet, "queue_full", client_id=device.client_id)) == 1
    with Wire.to(fleet) as wire:
        wire.enter(device, clean=False)
        assert [message.payload[:5] for message in wire.hear(4)] == [b"00000", b"11111", b"22222", b"short"]
        assert wire.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_max_unreleased(fleet: Fleet, backend_key: Credentials, *, clean: bool, websocket: bool) -> None:
    """One more QoS 2 message than may wait for its PUBREL closes the connection, said once; the others were heard."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key).subscribe(device.topic("state"))
        wire.enter(device, clean=clean)
        for number in range(1, MAX_UNRELEASED + 1):
            wire.ask(publish(device.topic("state"), b"%d" % number, qos=2, number=number), Kind.PUBREC)
        wire.ask(publish(device.topic("state"), b"again", qos=2, number=1), Kind.PUBREC)
        wire.send(publish(device.topic("state"), b"too many", qos=2, number=99) * 3)
        assert wire.is_told(Says.RECEIVE_MAXIMUM)
        assert [int(message.payload) for message in backend.publications()] == list(range(1, MAX_UNRELEASED + 1))
    assert len(log_lines(fleet, "bound_reached", bound="max_unreleased", client_id=device.client_id)) == 1


@BOTH_TRANSPORTS
@pytest.mark.parametrize("kind", ["device", "application"])
def test_max_subscriptions(fleet: Fleet, kind: str, *, websocket: bool) -> None:
    """Further filters are refused with 0x80, said once however many; those there are stay and can be replaced."""
    device = fleet.device()
    who, most = (device, MAX_FILTERS) if kind == "device" else (fleet.application(), MAX_APPLICATION_FILTERS)
    filters = [device.topic(f"{number}") for number in range(most + FLOOD)]
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(who)
        assert wire.subscribe(*filters[:most]) == [0] * most
        assert wire.subscribe(filters[0], *filters[most : most + 2]) == [0, REFUSED, REFUSED]
        for topic_filter in filters[most + 2 :]:
            assert wire.subscribe(topic_filter) == [REFUSED]
        assert wire.subscribe(filters[0], qos=1) == [1]
        wire.publish(filters[0], b"one", qos=1)
        wire.publish(filters[most], b"unheard", qos=1)
        assert [(message.payload, message.qos) for message in wire.hear()] == [(b"one", 1)]
        wire.ask(unsubscribe(9, filters[0]), Kind.UNSUBACK)
        assert wire.subscribe(filters[most], filters[most + 1]) == [0, REFUSED]
        assert wire.publications() == []
    assert len(log_lines(fleet, "bound_reached", bound="max_subscriptions", client_id=who.client_id)) in TWICE_REACHED


@BOTH_TRANSPORTS
def test_max_retained(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Further ones are delivered and not kept, said once however many; replacing and clearing go on."""
    device = fleet.device()
    topics = [device.topic(f"{number}") for number in range(MAX_RETAINED + FLOOD)]
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key).subscribe(device.topic("#"))
        wire.enter(device)
        for number, topic in enumerate(topics):
            wire.publish(topic, b"%d" % number, qos=number % 3, retain=True)
        assert len(backend.hear(len(topics))) == len(topics)

        def kept() -> list[bytes]:
            backend.subscribe(device.topic("#"))
            return sorted(message.payload for message in backend.publications() if message.retain)

        assert kept() == [b"%d" % number for number in range(MAX_RETAINED)]
        wire.publish(topics[0], b"replaced", retain=True)
        wire.publish(topics[1], b"", retain=True)
        wire.publish(topics[-1], b"room again", retain=True)
        wire.publish(topics[-2], b"none again", retain=True)
        assert kept() == [b"2", b"3", b"4", b"replaced", b"room again"]
    assert len(log_lines(fleet, "bound_reached", bound="max_retained", owner=device.client_id)) in TWICE_REACHED


def test_max_retained_of_another(fleet: Fleet, backend_key: Credentials) -> None:
    """One device at its bound takes nothing from another's."""
    full, other = fleet.device(), fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet) as one, Wire.to(fleet) as two:
        one.enter(full)
        two.enter(other)
        for number in range(FLOOD):
            one.publish(full.topic(f"{number}"), b"full", retain=True)
        for number in range(MAX_RETAINED):
            two.publish(other.topic(f"{number}"), b"other", retain=True)
        backend.enter(backend_key).subscribe(other.topic("#"))
        assert len(backend.publications()) == MAX_RETAINED


def test_max_retained_replaced(fleet: Fleet, backend_key: Credentials) -> None:
    """A back end at its bound still replaces what a device retained: nobody is told "open" after "closed"."""
    device, full = fleet.device(), fleet.device()
    door = device.topic("door")
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(backend_key)
        for number in range(FLOOD):
            backend.publish(full.topic(f"{number}"), b"full", qos=1, retain=True)
        wire.enter(device).publish(door, b"open", qos=1, retain=True)
        backend.publish(door, b"closed", qos=1, retain=True)
    fleet.server.restart()
    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(door)
        assert [message.payload for message in wire.hear()] == [b"closed"]


@only_5
def test_bounds_hold_after_a_restart(fleet: Fleet, backend_key: Credentials) -> None:
    """What was there before counts afterwards too: filters, queue, unreleased and retained messages."""
    device = fleet.device()
    command = device.topic("command")
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(backend_key)
        wire.enter(device, clean=False)
        wire.subscribe(command, *(device.topic(f"{number}") for number in range(MAX_FILTERS - 1)), qos=1)
        for number in range(1, MAX_UNRELEASED + 1):
            wire.publish(device.topic(f"kept/{number}"), b"kept", qos=1, retain=True)
            wire.ask(publish(device.topic("state"), b"x", qos=2, number=100 + number), Kind.PUBREC)
        wire.disconnect()
        for number in range(MAX_QUEUED):
            backend.publish(command, b"%d" % number, qos=1)
    fleet.server.restart()
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(backend_key).publish(command, b"too many", qos=1)
        wire.enter(device, clean=False)
        assert [int(message.payload) for message in wire.hear(MAX_QUEUED)] == list(range(MAX_QUEUED))
        assert wire.subscribe(device.topic("more")) == [REFUSED]
        wire.publish(device.topic("kept/more"), b"too many", qos=1, retain=True)
        backend.subscribe(device.topic("kept/#"))
        assert len(backend.publications()) == MAX_RETAINED
        wire.send(publish(device.topic("state"), b"too many", qos=2, number=99))
        assert wire.is_told(Says.RECEIVE_MAXIMUM)
