"""Every way of a message is decided by what its sender and its receiver may do at that moment."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Will
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


REFUSED = 0x80
WITHIN_SECONDS = 1.0
TEMPLATES = "devices/{device_id}/#,site/{tag:site}/#"
MAX_INFLIGHT = 4


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose devices reach their own topics and those of their site."""
    topics = {"FLEETKEY_TOPICS__PUBLISH": TEMPLATES, "FLEETKEY_TOPICS__SUBSCRIBE": TEMPLATES}
    with running(tmp_path_factory.mktemp("server"), environment=topics, max_inflight=MAX_INFLIGHT) as fleet:
        yield fleet


@pytest.fixture
def device(fleet: Fleet) -> Credentials:
    """Enrol a device at the site `north`."""
    device = fleet.device()
    _move(fleet, device, "north")
    return device


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


def _move(fleet: Fleet, device: Credentials, site: str) -> None:
    with fleet.store() as store:
        store.tag_device(device.client_id, {"site": site}, actor="test")


def _move_while_in(fleet: Fleet, device: Credentials, site: str, probe: Wire, may_subscribe: str) -> None:
    """Move a device; return when `probe` may subscribe to what the change brings it, which must be soon."""
    began = time.monotonic()
    _move(fleet, device, site)
    assert eventually(lambda: probe.subscribe(may_subscribe) == [0])
    assert time.monotonic() - began < WITHIN_SECONDS


@BOTH_TRANSPORTS
def test_device_moved_while_connected(
    fleet: Fleet, device: Credentials, everyone: Credentials, *, websocket: bool
) -> None:
    """At once it neither sends nor gets, live or retained, what is its former site's; its will is not published."""
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone).subscribe("site/#")
        wire.enter(device, will=Will("site/north/gone", b"gone", retain=True))
        assert wire.subscribe("site/north/#", device.topic("#"), qos=1) == [1, 1]
        wire.publish("site/north/a", b"from the north")
        backend.publish("site/north/b", b"to the north", qos=1)
        assert [message.payload for message in wire.hear(2)] == [b"from the north", b"to the north"]
        assert [message.payload for message in backend.publications()] == [b"from the north", b"to the north"]

        _move_while_in(fleet, device, "south", wire, "site/south/#")

        for qos in (0, 1, 2):
            wire.publish("site/north/a", b"forged", qos=qos, retain=True)
            backend.publish("site/north/b", b"private", qos=qos, retain=True)
        assert wire.subscribe("site/north/#", "site/north/b", "site/south/x") == [REFUSED, REFUSED, 0]
        wire.publish("site/south/a", b"from the south")
        backend.publish(device.topic("c"), b"own")
        assert [message.payload for message in wire.publications()] == [b"from the south", b"own"]
        assert b"forged" not in {message.payload for message in backend.publications()}
        wire.close()
        with Wire.to(fleet) as again:
            # Its coming back shows that the broker has noticed the end of the first connection.
            again.enter(device)
        assert backend.publications() == []
        backend.subscribe("site/north/gone")
        assert backend.publications() == []
        backend.publish("site/north/b", b"", retain=True)


@BOTH_TRANSPORTS
def test_device_moved_and_back(fleet: Fleet, device: Credentials, everyone: Credentials, *, websocket: bool) -> None:
    """A subscription outlives the change; it brings something whenever the scope allows it, and only then."""
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone)
        assert wire.enter(device).subscribe("site/north/x") == [0]
        for turn in range(3):
            backend.publish("site/north/x", b"heard %d" % turn)
            _move_while_in(fleet, device, "south", wire, "site/south/probe")
            backend.publish("site/north/x", b"private %d" % turn)
            _move_while_in(fleet, device, "north", wire, "site/north/probe")
        assert [message.payload for message in wire.publications()] == [b"heard 0", b"heard 1", b"heard 2"]


@BOTH_TRANSPORTS
def test_will_of_a_device_that_was_moved_back(
    fleet: Fleet, device: Credentials, everyone: Credentials, *, websocket: bool
) -> None:
    """What counts for a will is the moment at which it would be published."""
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(everyone).subscribe("site/north/gone")
        wire.enter(device, will=Will("site/north/gone", b"gone"))
        _move_while_in(fleet, device, "south", wire, "site/south/probe")
        _move_while_in(fleet, device, "north", wire, "site/north/probe")
        wire.close()
        assert [message.payload for message in backend.hear()] == [b"gone"]


@BOTH_TRANSPORTS
def test_application_whose_device_moved_while_it_is_connected(
    fleet: Fleet, device: Credentials, *, websocket: bool
) -> None:
    """A back end for one site stops hearing a device that left, and what it retained, and can't command it any more."""
    north = fleet.application(tags=(("site", "north"),))
    state, command = device.topic("state"), device.topic("command")
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(device).subscribe(command)
        assert backend.enter(north).subscribe(device.topic("#"), qos=1) == [1]
        wire.publish(state, b"before", qos=1, retain=True)
        backend.publish(command, b"before")
        assert [message.payload for message in backend.hear(2)] == [b"before", b"before"]

        began = time.monotonic()
        _move(fleet, device, "south")
        assert eventually(lambda: backend.subscribe(device.topic("#")) == [REFUSED])
        assert time.monotonic() - began < WITHIN_SECONDS

        backend.publications()
        wire.publications()
        for qos in (0, 1, 2):
            wire.publish(state, b"private", qos=qos, retain=True)
            backend.publish(command, b"forged", qos=qos)
        assert backend.subscribe(state, device.topic("+")) == [REFUSED, REFUSED]
        assert backend.publications() == []
        assert wire.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [1, 2])
def test_application_whose_device_moved_while_it_is_away(
    fleet: Fleet, device: Credentials, qos: int, *, websocket: bool
) -> None:
    """Neither what was sent to it and not acknowledged nor what was queued for it is delivered any more."""
    other = fleet.device()
    _move(fleet, other, "north")
    north = fleet.application(tags=(("site", "north"),))
    with Wire.to(fleet) as wire, Wire.to(fleet) as second:
        wire.enter(device)
        second.enter(other)
        with Wire.to(fleet, websocket=websocket) as backend:
            backend.enter(north, clean=False).subscribe(device.topic("#"), other.topic("#"), qos=qos)
            wire.publish(device.topic("state"), b"not acknowledged", qos=qos)
            second.publish(other.topic("state"), b"not acknowledged either", qos=qos)
            assert len(backend.hear(2, acknowledges=False)) == 2
            backend.disconnect()
        for number in range(MAX_INFLIGHT):
            wire.publish(device.topic("state"), b"queued", qos=qos)
            second.publish(other.topic("state"), b"queued %d" % number, qos=qos)
        with Wire.to(fleet) as probe:
            # Another connection with the same key shows when the change has been taken in.
            probe.enter(replace(north, client_id="app-probe"))
            _move(fleet, device, "south")
            assert eventually(lambda: probe.subscribe(device.topic("x")) == [REFUSED])
        with Wire.to(fleet, websocket=websocket) as backend:
            assert backend.enter(north, clean=False).is_session_present
            heard = backend.hear(1 + MAX_INFLIGHT)
            assert {message.topic for message in heard} == {other.topic("state")}
            assert [message.payload for message in heard] == [
                b"not acknowledged either",
                *(b"queued %d" % number for number in range(MAX_INFLIGHT)),
            ]
            assert backend.publications() == []
            backend.disconnect()


@BOTH_TRANSPORTS
def test_application_whose_device_moved_while_its_window_is_full(
    fleet: Fleet, device: Credentials, *, websocket: bool
) -> None:
    """What waits behind unacknowledged messages is decided when its turn comes."""
    north = fleet.application(tags=(("site", "north"),))
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(device)
        for number in range(MAX_INFLIGHT):
            wire.publish(device.topic(f"kept/{number}"), b"kept", qos=1, retain=True)
        backend.enter(north).subscribe(device.topic("state"), qos=1)
        for _ in range(2 * MAX_INFLIGHT):
            wire.publish(device.topic("state"), b"state", qos=1)
        assert backend.subscribe(device.topic("kept/#"), qos=1) == [1]
        first = backend.hear(MAX_INFLIGHT, acknowledges=False)
        began = time.monotonic()
        _move(fleet, device, "south")
        assert eventually(lambda: backend.subscribe(device.topic("x")) == [REFUSED])
        assert time.monotonic() - began < WITHIN_SECONDS
        for message in first:
            backend.acknowledge(message)
        assert backend.publications() == []


@BOTH_TRANSPORTS
def test_key_rotated_while_away(fleet: Fleet, device: Credentials, everyone: Credentials, *, websocket: bool) -> None:
    """A session is its device's, whichever key it comes with; the older key is out and finds nothing."""
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
        wire.disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(everyone).publish(device.topic("command"), b"before", qos=1)
        rotated = fleet.register(device.serial)
        assert rotated.client_id == device.client_id
        backend.publish(device.topic("command"), b"between", qos=1)
        with Wire.to(fleet, websocket=websocket) as wire:
            assert wire.enter(rotated, clean=False).is_session_present
            backend.publish(device.topic("command"), b"after", qos=1)
            assert [message.payload for message in wire.hear(3)] == [b"before", b"between", b"after"]
            assert not fleet.can_connect(device)
            backend.publish(device.topic("command"), b"still", qos=1)
            assert [message.payload for message in wire.hear()] == [b"still"]


def test_application_whose_device_was_deleted(fleet: Fleet, device: Credentials, everyone: Credentials) -> None:
    """A deleted device's topics leave the scope of an application that reached them by its tag."""
    tagged = fleet.application(tags=(("site", "north"),))
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone)
        wire.enter(tagged)
        assert wire.subscribe(device.topic("#")) == [0]
        with fleet.store() as store:
            store.delete_device(device.client_id, actor="test")
        assert eventually(lambda: wire.subscribe(device.topic("x")) == [REFUSED], WITHIN_SECONDS)
        backend.publish(device.topic("x"), b"after")
        assert wire.publications() == []
