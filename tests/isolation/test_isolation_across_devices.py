"""An application key by tag or by id listens to its devices with one filter, and hears no other device."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.packets import Will
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.versions import shared_code
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials

REFUSED = 0x80
WITHIN_SECONDS = 1.0
MAX_INFLIGHT = 4
MAX_QUEUED = 8
FILTER = "devices/+/state"
SETTINGS = """
[topics]
publish = ["devices/{device_id}/#", "of/{tag:site}/{serial}/up", "site/{tag:site}/#"]
subscribe = ["devices/{device_id}/#"]

[profiles.camera]
serials = "CAM-.*"
publish = ["cameras/{device_id}/out"]
subscribe = ["cameras/{device_id}/in"]
"""
QOS = pytest.mark.parametrize("qos", [0, 1, 2])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with topics by id, by tag and serial, and by profile."""
    environment = {
        **NO_LIMITS,
        "FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0",
        "FLEETKEY_MQTT__MAX_INFLIGHT": str(MAX_INFLIGHT),
        "FLEETKEY_MQTT__MAX_QUEUED_MESSAGES": str(MAX_QUEUED),
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=environment, settings=SETTINGS) as server:
        yield Fleet(server)


@pytest.fixture
def site() -> str:
    """Name a site that no other test uses."""
    return f"site-{secrets.token_hex(4)}"


@pytest.fixture
def inside(fleet: Fleet, site: str) -> Credentials:
    """Enrol a device at the site."""
    return _at(fleet, site)


@pytest.fixture
def outside(fleet: Fleet) -> Credentials:
    """Enrol a device elsewhere."""
    return _at(fleet, "elsewhere")


def _at(fleet: Fleet, site: str, serial: str = "") -> Credentials:
    if serial:
        with fleet.store() as store:
            store.add_serials([serial], actor="test")
    device = fleet.register(serial) if serial else fleet.device()
    _tag(fleet, device, site)
    return device


def _tag(fleet: Fleet, device: Credentials, site: str) -> None:
    with fleet.store() as store:
        store.tag_device(device.client_id, {"site": site}, actor="test")


def _move(fleet: Fleet, device: Credentials, site: str, probe: Wire, code: int) -> None:
    """Move a device; return when `probe` is answered so about its topics by name, which must be soon."""
    began = time.monotonic()
    _tag(fleet, device, site)
    assert eventually(lambda: probe.subscribe(device.topic("probe")) == [code])
    assert time.monotonic() - began < WITHIN_SECONDS


def _of(fleet: Fleet, kind: str, site: str, *devices: Credentials) -> Credentials:
    if kind == "tag":
        return fleet.application(tags=(("site", site),))
    return fleet.application(device_ids=tuple(device.client_id for device in devices))


@BOTH_TRANSPORTS
@QOS
@pytest.mark.parametrize("kind", ["tag", "ids"])
def test_live(
    fleet: Fleet, site: str, inside: Credentials, outside: Credentials, qos: int, kind: str, *, websocket: bool
) -> None:
    """Messages of the key's devices come, those of others don't, at every QoS."""
    with Wire.to(fleet) as wire, Wire.to(fleet) as stranger, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(inside)
        stranger.enter(outside)
        assert backend.enter(_of(fleet, kind, site, inside)).subscribe(FILTER, "devices/+/#", qos=qos) == [qos, qos]
        for number in range(3):
            stranger.publish(outside.topic("state"), b"foreign", qos=qos)
            wire.publish(inside.topic("state"), b"%d" % number, qos=qos)
        assert [(got.topic, got.payload, got.qos) for got in backend.hear(3)] == [
            (inside.topic("state"), b"%d" % number, qos) for number in range(3)
        ]
        assert backend.publications() == []


@BOTH_TRANSPORTS
@QOS
def test_retained(
    fleet: Fleet, site: str, inside: Credentials, outside: Credentials, qos: int, *, websocket: bool
) -> None:
    """Of the retained messages that the filter matches, only those of the key's devices come."""
    with Wire.to(fleet) as wire, Wire.to(fleet) as stranger, Wire.to(fleet, websocket=websocket) as backend:
        wire.enter(inside).publish(inside.topic("state"), b"kept", qos=qos, retain=True)
        stranger.enter(outside).publish(outside.topic("state"), b"foreign", qos=qos, retain=True)
        backend.enter(_of(fleet, "tag", site)).subscribe(FILTER, "devices/+/#", qos=qos)
        assert {(got.topic, got.payload, got.retain) for got in backend.hear(2)} == {
            (inside.topic("state"), b"kept", True)
        }
        assert backend.publications() == []


def test_will(fleet: Fleet, site: str, inside: Credentials, outside: Credentials) -> None:
    """The last will of a device outside the scope isn't heard."""
    with Wire.to(fleet) as backend:
        backend.enter(_of(fleet, "tag", site)).subscribe(FILTER, qos=1)
        for device in (outside, inside):
            with Wire.to(fleet) as wire:
                wire.enter(device, will=Will(device.topic("state"), b"gone", 1)).drop()
        assert [got.topic for got in backend.hear()] == [inside.topic("state")]
        assert backend.publications() == []


@BOTH_TRANSPORTS
@QOS
def test_tag_gained_and_lost(fleet: Fleet, site: str, outside: Credentials, qos: int, *, websocket: bool) -> None:
    """One subscription, granted before there is any device, follows the tag, each time within a second."""
    with Wire.to(fleet) as wire, Wire.to(fleet, websocket=websocket) as backend, Wire.to(fleet) as probe:
        wire.enter(outside)
        key = _of(fleet, "tag", site)
        assert backend.enter(key).subscribe(FILTER, qos=qos) == [qos]
        probe.enter(replace(key, client_id="app-probe"))
        wire.publish(outside.topic("state"), b"before", qos=qos, retain=True)
        for turn in range(2):
            _move(fleet, outside, site, probe, 0)
            wire.publish(outside.topic("state"), b"in %d" % turn, qos=qos)
            assert [got.payload for got in backend.hear()] == [b"in %d" % turn]
            _move(fleet, outside, "elsewhere", probe, REFUSED)
            wire.publish(outside.topic("state"), b"out %d" % turn, qos=qos)
            assert backend.publications() == []


@QOS
def test_tag_gained_and_lost_while_it_publishes(fleet: Fleet, site: str, qos: int) -> None:
    """The same when nobody's scope but the key's changes, and all messages are of one topic with known receivers."""
    outside = _at(fleet, "elsewhere", f"CAM-{secrets.token_hex(6)}")
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(outside)
        backend.enter(_of(fleet, "tag", site)).subscribe("cameras/+/out", qos=1)

        def is_heard() -> bool:
            wire.publish(f"cameras/{outside.client_id}/out", b"state", qos=qos)
            heard = backend.publications()
            for message in heard:
                backend.acknowledge(message)
            return bool(heard)

        assert not is_heard()
        for _ in range(2):
            _tag(fleet, outside, site)
            assert eventually(is_heard, WITHIN_SECONDS)
            assert all(is_heard() for _ in range(3))
            _tag(fleet, outside, "elsewhere")
            assert eventually(lambda: not is_heard(), WITHIN_SECONDS)
            assert not any(is_heard() for _ in range(3))


def test_retained_after_the_tag_was_lost(fleet: Fleet, site: str, inside: Credentials) -> None:
    """A subscription made again is decided anew."""
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(inside).publish(inside.topic("state"), b"kept", qos=1, retain=True)
        key = _of(fleet, "tag", site)
        backend.enter(key).subscribe(FILTER)
        assert [got.payload for got in backend.hear()] == [b"kept"]
        _move(fleet, inside, "elsewhere", backend, REFUSED)
        assert backend.subscribe(FILTER) == [0]
        assert backend.publications() == []
        _move(fleet, inside, site, backend, 0)
        assert backend.subscribe(FILTER) == [0]
        assert [got.payload for got in backend.hear()] == [b"kept"]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [1, 2])
def test_queued_and_then_lost(fleet: Fleet, site: str, inside: Credentials, qos: int, *, websocket: bool) -> None:
    """What was sent and not acknowledged, or queued, for an away session is decided again when it comes back."""
    stays = _at(fleet, site)
    key = _of(fleet, "tag", site)
    with Wire.to(fleet) as wire, Wire.to(fleet) as second, Wire.to(fleet) as probe:
        wire.enter(inside)
        second.enter(stays)
        probe.enter(replace(key, client_id="app-probe"))
        with Wire.to(fleet, websocket=websocket) as backend:
            backend.enter(key, clean=False).subscribe(FILTER, qos=qos)
            wire.publish(inside.topic("state"), b"unacknowledged", qos=qos)
            assert len(backend.hear(1, acknowledges=False)) == 1
            backend.disconnect()
        wire.publish(inside.topic("state"), b"queued", qos=qos)
        second.publish(stays.topic("state"), b"mine", qos=qos)
        _move(fleet, inside, "elsewhere", probe, REFUSED)
        with Wire.to(fleet, websocket=websocket) as backend:
            assert backend.enter(key, clean=False).is_session_present
            assert [(got.topic, got.payload) for got in backend.hear()] == [(stays.topic("state"), b"mine")]
            assert backend.publications() == []


def test_queue_of_an_away_session(fleet: Fleet, site: str, inside: Credentials, outside: Credentials) -> None:
    """Messages of other devices, however many, take no place in the queue."""
    key = _of(fleet, "tag", site)
    with Wire.to(fleet) as wire, Wire.to(fleet) as stranger:
        wire.enter(inside)
        stranger.enter(outside)
        with Wire.to(fleet) as backend:
            backend.enter(key, clean=False).subscribe(FILTER, qos=1)
            backend.disconnect()
        for _ in range(2 * MAX_QUEUED):
            stranger.publish(outside.topic("state"), b"foreign", qos=1)
        for number in range(MAX_QUEUED):
            wire.publish(inside.topic("state"), b"%d" % number, qos=1)
        with Wire.to(fleet) as backend:
            backend.enter(key, clean=False)
            assert [got.payload for got in backend.hear(MAX_QUEUED)] == [b"%d" % number for number in range(MAX_QUEUED)]
            assert backend.publications() == []


def test_full_window_and_then_lost(fleet: Fleet, site: str, inside: Credentials) -> None:
    """What waits behind unacknowledged messages of a connected client is decided when its turn comes."""
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(inside)
        backend.enter(_of(fleet, "tag", site)).subscribe(FILTER, qos=1)
        for _ in range(2 * MAX_INFLIGHT):
            wire.publish(inside.topic("state"), b"state", qos=1)
        first = backend.hear(MAX_INFLIGHT, acknowledges=False)
        _move(fleet, inside, "elsewhere", backend, REFUSED)
        for message in first:
            backend.acknowledge(message)
        assert backend.publications() == []


def test_list_of_devices(fleet: Fleet, inside: Credentials, outside: Credentials) -> None:
    """Two of three devices are named: the third isn't heard, whatever tags it has; a deleted one's topics are lost."""
    third = _at(fleet, "elsewhere")
    with Wire.to(fleet) as backend, Wire.to(fleet) as one, Wire.to(fleet) as two, Wire.to(fleet) as three:
        backend.enter(_of(fleet, "ids", "", inside, outside)).subscribe("devices/+/#", qos=1)
        for wire, device in ((three, third), (one, inside), (two, outside)):
            wire.enter(device).publish(device.topic("state"), b"x", qos=1)
        assert [got.topic for got in backend.hear(2)] == [inside.topic("state"), outside.topic("state")]
        assert backend.publications() == []
        with fleet.store() as store:
            store.delete_device(outside.client_id, actor="test")
        assert eventually(lambda: backend.subscribe(outside.topic("x")) == [REFUSED], WITHIN_SECONDS)
        assert backend.subscribe("devices/+/#") == [0]
        assert backend.publications() == []


def test_last_device_is_gone(fleet: Fleet, site: str, inside: Credentials) -> None:
    """The subscription stays, and is there for the next device."""
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(_of(fleet, "tag", site)).subscribe(FILTER, qos=1)
        with fleet.store() as store:
            store.delete_device(inside.client_id, actor="test")
        assert eventually(lambda: backend.subscribe(inside.topic("x")) == [REFUSED], WITHIN_SECONDS)
        following = _at(fleet, "elsewhere")
        _move(fleet, following, site, backend, 0)
        wire.enter(following).publish(following.topic("state"), b"next", qos=1)
        assert [got.payload for got in backend.hear()] == [b"next"]


def test_serials_and_tags_in_topics(fleet: Fleet, site: str, inside: Credentials, outside: Credentials) -> None:
    """`+` may be in place of the serial; the tag must be the one that the key names."""
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire, Wire.to(fleet) as stranger:
        backend.enter(_of(fleet, "tag", site))
        assert backend.subscribe(f"of/{site}/+/up", qos=1) == [1]
        wide = ("of/+/+/up", "of/elsewhere/+/up", f"of/{site}/+/#", f"of/{site}/+", "site/+/#", "site/+/state", "of/#")
        assert backend.subscribe(*wide) == [REFUSED] * len(wide)
        stranger.enter(outside).publish(f"of/elsewhere/{outside.serial}/up", b"foreign", qos=1)
        wire.enter(inside).publish(f"of/{site}/{inside.serial}/up", b"mine", qos=1)
        assert [got.payload for got in backend.hear()] == [b"mine"]
        assert backend.publications() == []
    with Wire.to(fleet) as backend:
        backend.enter(_of(fleet, "ids", "", inside))
        assert backend.subscribe(f"of/{site}/+/up", "of/+/+/up") == [REFUSED, REFUSED]


def test_profile_topics(fleet: Fleet, site: str) -> None:
    """Topics that a profile gives to its devices are spanned, too, and decided in the same way."""
    mine, foreign = (_at(fleet, where, f"CAM-{secrets.token_hex(6)}") for where in (site, "elsewhere"))
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire, Wire.to(fleet) as stranger:
        assert backend.enter(_of(fleet, "tag", site)).subscribe("cameras/+/out", qos=1) == [1]
        assert backend.subscribe("cameras/+/#", "cameras/+", "cameras/+/other") == [REFUSED] * 3
        stranger.enter(foreign).publish(f"cameras/{foreign.client_id}/out", b"foreign", qos=1)
        wire.enter(mine).publish(f"cameras/{mine.client_id}/out", b"mine", qos=1)
        assert [got.payload for got in backend.hear()] == [b"mine"]
        assert backend.publications() == []


@BOTH_TRANSPORTS
def test_wider_filters(fleet: Fleet, site: str, inside: Credentials, outside: Credentials, *, websocket: bool) -> None:
    """A wildcard anywhere but in the device's place, or the name of another device there, is refused."""
    filters = (
        *("#", "+/#", "+/+/state", "+/+/#", "devices/#", "/devices/+/state", "Devices/+/state"),
        *("$SYS/#", "$devices/+/state", outside.topic("state"), outside.topic("#")),
        *(f"devices/{inside.client_id}x/state", "devices//state", "devices/{device_id}/state", "devicesx/+/state"),
    )
    with Wire.to(fleet, websocket=websocket) as backend, Wire.to(fleet) as stranger:
        backend.enter(_of(fleet, "tag", site))
        assert backend.subscribe(*filters) == [REFUSED] * len(filters)
        assert backend.subscribe("$share/g/devices/+/state", "$share/g/devices/#") == [shared_code(0), REFUSED]
        stranger.enter(outside).publish(outside.topic("state"), b"foreign", qos=1)
        assert backend.publications() == []


@BOTH_TRANSPORTS
def test_device_key(fleet: Fleet, inside: Credentials, outside: Credentials, *, websocket: bool) -> None:
    """A device's own key may not, whatever it would be sent."""
    with Wire.to(fleet, websocket=websocket) as wire, Wire.to(fleet) as stranger:
        wire.enter(inside)
        filters = (FILTER, "devices/+/#", "devices/+", "cameras/+/out", "of/elsewhere/+/up")
        assert wire.subscribe(*filters) == [REFUSED] * len(filters)
        stranger.enter(outside).publish(outside.topic("state"), b"foreign", qos=1)
        assert wire.publications() == []


def test_topics_alone(fleet: Fleet, inside: Credentials) -> None:
    """A key with topics of its own, and no devices, spans none."""
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application(subscribe=(inside.topic("state"),)))
        assert backend.subscribe(FILTER, inside.topic("state")) == [REFUSED, 0]
