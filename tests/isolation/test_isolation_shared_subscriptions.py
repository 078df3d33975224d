"""A shared subscription reaches no further than its filter does, and takes nothing away from another owner's."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import DeviceState
from tests.support.packets import Kind
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

pytestmark = only_5

REFUSED = 0x80
MANY = 24


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


@pytest.fixture
def backend(fleet: Fleet, everyone: Credentials) -> Iterator[Wire]:
    """Connect it."""
    with Wire.to(fleet) as wire:
        yield wire.enter(replace(everyone, client_id=f"{everyone.client_id}-sender"))


def _member(key: Credentials, number: int) -> Credentials:
    return replace(key, client_id=f"{key.client_id}-{number}")


def _tag(fleet: Fleet, device: Credentials, line: str) -> None:
    with fleet.store() as store:
        store.tag_device(device.client_id, {"line": line}, actor="test")


FILTERS = (
    *("devices/{o}/#", "devices/{o}/state", "devices/{o}/+/x", "devices/{o}", "devices/{o}/#/x", "devices/{v}/#"),
    *("devices/{v}/state", "devices/+/state", "devices/+/#", "devices/#", "+/{o}/#", "#", "+/#", "/#", "$SYS/#"),
    *("$share/other/devices/{o}/#", "$share/other/#", "devices/{v}", "other/{o}", "devices/{o}x/#", "/devices/{o}/#"),
)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("who", ["device", "by_id", "by_tag", "all_devices", "everything"])
def test_granted_as_its_filter(fleet: Fleet, who: str, *, websocket: bool) -> None:
    """`$share/GROUP/FILTER` is granted where FILTER is, and refused where that is, whoever asks."""
    own, victim, tag = fleet.device(), fleet.device(), fleet.serial()
    _tag(fleet, own, tag)
    scopes: dict[str, dict[str, object]] = {
        "by_id": {"device_ids": (own.client_id,)},
        "by_tag": {"tags": (("line", tag),)},
        "all_devices": {},
        "everything": {"publish": ("#",), "subscribe": ("#",)},
    }
    key = own if who == "device" else fleet.application(**scopes[who])
    granted = 0
    for trick in FILTERS:
        topic_filter = trick.format(o=own.client_id, v=victim.client_id)
        answers = []
        for asked in (topic_filter, f"$share/g/{topic_filter}"):
            with Wire.to(fleet, websocket=websocket) as wire:
                wire.enter(_member(key, 1) if who != "device" else key)
                if "#/" in topic_filter:
                    # Ill-formed in both.
                    with pytest.raises(AssertionError):
                        wire.subscribe(asked)
                    continue
                answers += wire.subscribe(asked)
        if topic_filter.startswith("$share"):
            # A group within a group is a filter like any other, and nobody's.
            assert answers[1:] == [REFUSED]
        else:
            assert answers in ([], [0, 0], [REFUSED, REFUSED]), topic_filter
            granted += answers == [0, 0]
    assert 0 < granted < len(FILTERS)


@pytest.mark.parametrize(
    "trick", ["$share", "$share/g", "$share//devices/{o}/#", "$share/g/", "$share/#", "$share/+/#"]
)
def test_ill_formed(fleet: Fleet, backend: Wire, trick: str) -> None:
    """Without a group or a filter it is refused, or closes the connection; it brings nothing."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        try:
            assert wire.subscribe(trick.format(o=device.client_id)) == [REFUSED]
        except AssertionError:
            assert wire.is_closed_by_broker()
            return
        backend.publish(device.topic("x"), b"unheard")
        assert wire.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_two_keys_with_one_group_name(fleet: Fleet, qos: int, *, websocket: bool) -> None:
    """They are two groups: each gets every message once, and takes none from the other, or from the device."""
    device, keys = fleet.device(), [fleet.application(), fleet.application()]
    shared = f"$share/workers/{device.topic('#')}"
    with ExitStack() as stack, Wire.to(fleet) as sender, Wire.to(fleet) as plain:
        groups = [
            [
                stack.enter_context(Wire.to(fleet, websocket=websocket)).enter(_member(key, number))
                for number in range(2)
            ]
            for key in keys
        ]
        for wire in (wire for group in groups for wire in group):
            assert wire.subscribe(shared, qos=qos) == [qos]
        assert sender.enter(device).subscribe(shared, qos=qos) == [qos]
        plain.enter(fleet.application()).subscribe(device.topic("#"))
        for number in range(MANY):
            sender.publish(device.topic("x"), b"%d" % number, qos=qos)
        everything = [b"%d" % number for number in range(MANY)]
        assert plain.payloads() == everything
        assert [got.payload for got in sender.hear(MANY)] == everything
        for group in groups:
            heard = [_drained(wire) for wire in group]
            assert sorted(heard[0] + heard[1], key=int) == everything
            assert all(heard)


def _drained(wire: Wire) -> list[bytes]:
    """Return everything that has come, acknowledged."""
    found = []
    while more := wire.publications():
        for got in more:
            wire.acknowledge(got)
            found.append(got.payload)
    return found


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1])
def test_scope_at_that_moment(fleet: Fleet, backend: Wire, qos: int, *, websocket: bool) -> None:
    """What leaves the scope of the group's key goes to none of its members, live or queued; it comes back with it."""
    device, tag = fleet.device(), fleet.serial()
    _tag(fleet, device, tag)
    key = fleet.application(tags=(("line", tag),))
    with (
        Wire.to(fleet) as probe,
        Wire.to(fleet, websocket=websocket) as one,
        Wire.to(fleet, websocket=websocket) as two,
    ):
        for number, wire in enumerate((one, two)):
            wire.enter(_member(key, number), clean=False)
            assert wire.subscribe("$share/g/devices/+/state", qos=1) == [1]
        probe.enter(_member(key, 9))
        for turn in range(2):
            for number in range(4):
                backend.publish(device.topic("state"), b"heard %d" % number, qos=qos)
            assert sorted(_drained(one) + _drained(two)) == [b"heard %d" % number for number in range(4)]
            _tag(fleet, device, "elsewhere")
            assert eventually(lambda: probe.subscribe(device.topic("x")) == [REFUSED])
            for _ in range(4):
                backend.publish(device.topic("state"), b"private", qos=qos)
            assert _drained(one) + _drained(two) == []
            if turn:
                break
            _tag(fleet, device, tag)
            assert eventually(lambda: probe.subscribe(device.topic("x")) == [0])


def test_queued_and_then_out_of_scope(fleet: Fleet, backend: Wire) -> None:
    """What waited for a member that was away isn't sent once its key has lost the device, nor to another member."""
    device, tag = fleet.device(), fleet.serial()
    _tag(fleet, device, tag)
    key = fleet.application(tags=(("line", tag),))
    with Wire.to(fleet) as probe:
        probe.enter(_member(key, 9))
        with Wire.to(fleet) as wire:
            wire.enter(_member(key, 1), clean=False).subscribe("$share/g/devices/+/state", qos=1)
            wire.disconnect()
        backend.publish(device.topic("state"), b"private", qos=1)
        _tag(fleet, device, "elsewhere")
        assert eventually(lambda: probe.subscribe(device.topic("x")) == [REFUSED])
        with Wire.to(fleet) as back, Wire.to(fleet) as other:
            other.enter(_member(key, 2)).subscribe("$share/g/devices/+/state", qos=1)
            assert back.enter(_member(key, 1), clean=False).is_session_present
            assert back.publications() == other.publications() == []


@pytest.mark.parametrize("end", ["key_revoked", "device_disabled"])
def test_revoked(fleet: Fleet, backend: Wire, end: str) -> None:
    """A revoked key's group ends with it; the group of that name of another key goes on with everything."""
    device, stays = fleet.device(), fleet.application()
    with Wire.to(fleet) as one, Wire.to(fleet) as other, fleet.store() as store:
        leaves = fleet.application() if end == "key_revoked" else device
        shared = f"$share/g/{device.topic('state')}"
        assert one.enter(leaves, clean=False).subscribe(shared, qos=1) == [1]
        assert other.enter(stays).subscribe(shared, qos=1) == [1]
        if end == "key_revoked":
            store.revoke_key(leaves.key, actor="test")
        else:
            store.set_device_state(device.client_id, DeviceState.DISABLED, actor="test")
        assert one.is_closed_by_broker()
        for number in range(4):
            backend.publish(device.topic("state"), b"%d" % number, qos=1)
        assert _drained(other) == [b"0", b"1", b"2", b"3"]
        assert [got for got in one.inbox if got.kind == Kind.PUBLISH] == []


def test_retained_messages(fleet: Fleet, backend: Wire, everyone: Credentials) -> None:
    """A group is sent no retained message (4.8.2), so that joining one tells nothing about the past."""
    device = fleet.device()
    backend.publish(device.topic("kept"), b"kept", qos=1, retain=True)
    with Wire.to(fleet) as wire:
        wire.enter(everyone)
        assert wire.subscribe(f"$share/g/{device.topic('#')}", qos=1) == [1]
        assert wire.publications() == []
        assert wire.subscribe(device.topic("#")) == [0]
        assert wire.payloads() == [b"kept"]
    backend.publish(device.topic("kept"), b"", qos=1, retain=True)
