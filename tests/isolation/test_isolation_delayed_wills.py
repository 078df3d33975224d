"""A will that waits out its delay is decided again when it is due, and dies with its key, its device, or at a return.

The wills of each test are due within a few seconds of each other; when the last one is heard, all others that are ever
published have been.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import DeviceState
from tests.support.packets import Will, packet
from tests.support.properties import Name, as_properties, prop
from tests.support.reasons import Says
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.registry import SqliteStore
    from tests.support.fleet import Credentials, Fleet

pytestmark = only_5

LONG_SECONDS = 3_600
SOON_SECONDS = 1
AFTER_A_START_SECONDS = 5
"""Longer than a kill and a start take."""
WAIT_SECONDS = 20
REFUSED = 0x80


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


@pytest.fixture
def observer(fleet: Fleet, everyone: Credentials) -> Iterator[Wire]:
    """Hear every will."""
    with Wire.to(fleet) as wire:
        wire.enter(everyone).subscribe("devices/+/gone")
        wire.publications()
        yield wire


def _will(who: Credentials, seconds: int, payload: str, **options: object) -> Will:
    return Will(who.topic("gone"), payload.encode(), properties=prop(Name.WILL_DELAY, seconds), **options)  # type: ignore[arg-type]


def _die(fleet: Fleet, who: Credentials, seconds: int, payload: str, *, expiry_seconds: int = LONG_SECONDS) -> None:
    """Connect with a will that waits for so many seconds, and lose the connection."""
    with Wire.to(fleet) as wire:
        expiry = prop(Name.SESSION_EXPIRY, expiry_seconds)
        wire.enter(who, clean=False, will=_will(who, seconds, payload), properties=expiry).drop()


def _heard_until(observer: Wire, last: str) -> list[str]:
    """Return what is heard up to a will that is due last."""
    heard: list[str] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while last not in heard:
        assert time.monotonic() < deadline, f"only {heard}"
        heard += [got.payload.decode() for got in observer.hear()]
    return heard


ENDS: dict[str, Callable[[SqliteStore, Credentials], object]] = {
    "revoked": lambda store, who: store.revoke_key(who.key, actor="test"),
    "disabled": lambda store, who: store.set_device_state(who.client_id, DeviceState.DISABLED, actor="test"),
    "deleted": lambda store, who: store.delete_device(who.client_id, actor="test"),
}


def _disable_and_enable(store: SqliteStore, who: Credentials) -> None:
    store.set_device_state(who.client_id, DeviceState.DISABLED, actor="test")
    store.set_device_state(who.client_id, DeviceState.ACTIVE, actor="test")


BEFORE_IT_IS_DUE = ENDS | {"disabled_for_a_while": _disable_and_enable}


def test_end_of_who_left_it(fleet: Fleet, observer: Wire) -> None:
    """A key that is revoked, or a device that is disabled, deleted or disabled for a while takes its will along."""
    devices = {name: fleet.device() for name in BEFORE_IT_IS_DUE}
    for name, device in devices.items():
        _die(fleet, device, SOON_SECONDS, name)
    with fleet.store() as store:
        for name, device in devices.items():
            BEFORE_IT_IS_DUE[name](store, device)
    _die(fleet, fleet.device(), SOON_SECONDS + 1, "control")
    assert _heard_until(observer, "control") == ["control"]


def test_end_while_connected(fleet: Fleet, observer: Wire) -> None:
    """A delayed will isn't published after the connection of a revoked key either."""
    devices = {name: fleet.device() for name in ENDS}
    for name, device in devices.items():
        with Wire.to(fleet) as wire, fleet.store() as store:
            wire.enter(device, clean=False, will=_will(device, SOON_SECONDS, name))
            ENDS[name](store, device)
            assert wire.is_told(Says.REVOKED)
    _die(fleet, fleet.device(), SOON_SECONDS + 1, "control")
    assert _heard_until(observer, "control") == ["control"]


def test_scope_that_changed(fleet: Fleet, observer: Wire) -> None:
    """What its key may no longer publish when it is due isn't published; what it may again is."""
    devices = {"left": fleet.device(), "came_back": fleet.device(), "stayed": fleet.device()}
    line = fleet.serial()

    def tag(name: str, value: str) -> None:
        with fleet.store() as store:
            store.tag_device(devices[name].client_id, {"line": value}, actor="test")

    for name in devices:
        tag(name, line)
    key = fleet.application(tags=(("line", line),))
    for name, device in devices.items():
        with Wire.to(fleet) as wire:
            client_id = f"{key.client_id}-{name}"
            who = type(key)(client_id=client_id, key=key.key, secret=key.secret)
            wire.enter(who, clean=False, will=_will(device, SOON_SECONDS + 1, name)).drop()
    with Wire.to(fleet) as probe:
        probe.enter(key)
        for name in ("left", "came_back"):
            tag(name, "elsewhere")
            assert eventually(lambda name=name: probe.subscribe(devices[name].topic("x")) == [REFUSED])  # type: ignore[misc]
        tag("came_back", line)
        assert eventually(lambda: probe.subscribe(devices["came_back"].topic("x")) == [0])
    _die(fleet, fleet.device(), SOON_SECONDS + 2, "control")
    assert sorted(_heard_until(observer, "control")) == ["came_back", "control", "stayed"]


def test_return(fleet: Fleet, observer: Wire) -> None:
    """Who resumes the session in time is not gone; a clean start, and the end of the session, publish it at once."""
    resumed, cleaned, expired, left = fleet.device(), fleet.device(), fleet.device(), fleet.device()
    _die(fleet, resumed, SOON_SECONDS, "resumed")
    with Wire.to(fleet) as wire:
        assert wire.enter(resumed, clean=False).is_session_present
        wire.disconnect()
    _die(fleet, cleaned, LONG_SECONDS, "cleaned")
    assert observer.publications() == []
    with Wire.to(fleet) as wire:
        wire.enter(cleaned)
        assert [got.payload for got in observer.hear()] == [b"cleaned"]
        wire.disconnect()
    # A DISCONNECT that asks for the will, and for the session to end with it (3.14.2.2.2).
    with Wire.to(fleet) as wire:
        wire.enter(left, clean=False, will=_will(left, LONG_SECONDS, "left"))
        wire.send(packet(14, 0, b"\4" + as_properties(prop(Name.SESSION_EXPIRY, 0))))
        assert wire.is_closed_by_broker()
        assert [got.payload for got in observer.hear()] == [b"left"]
    _die(fleet, expired, LONG_SECONDS, "expired", expiry_seconds=SOON_SECONDS)
    _die(fleet, fleet.device(), SOON_SECONDS + 2, "control")
    assert _heard_until(observer, "control") == ["expired", "control"]


def test_takeover(fleet: Fleet, observer: Wire) -> None:
    """Another connection of the client cancels the delayed will of the one it ends, unless it starts clean."""
    kept, cleaned = fleet.device(), fleet.device()
    with Wire.to(fleet) as old, Wire.to(fleet) as new:
        old.enter(kept, clean=False, will=_will(kept, SOON_SECONDS, "kept"))
        assert new.enter(kept, clean=False).is_session_present
        assert old.is_told(Says.TAKEN_OVER)
        new.disconnect()
    with Wire.to(fleet) as old, Wire.to(fleet) as new:
        old.enter(cleaned, clean=False, will=_will(cleaned, LONG_SECONDS, "cleaned"))
        assert not new.enter(cleaned).is_session_present
        assert [got.payload for got in observer.hear()] == [b"cleaned"]
    _die(fleet, fleet.device(), SOON_SECONDS + 1, "control")
    assert _heard_until(observer, "control") == ["control"]


def test_kill9(fleet: Fleet, everyone: Credentials) -> None:
    """It waits across a kill -9, and is decided when it is due: not for who ended before, meanwhile or after it."""
    before, meanwhile, after = ({name: fleet.device() for name in ENDS} for _ in range(3))
    after["disabled_for_a_while"] = fleet.device()
    stays, returns, cleans = fleet.device(), fleet.device(), fleet.device()
    groups = {"before": before, "meanwhile": meanwhile, "after": after}

    def end(when: str) -> None:
        with fleet.store() as store:
            for name, device in groups[when].items():
                BEFORE_IT_IS_DUE[name](store, device)

    for when, devices in groups.items():
        for name, device in devices.items():
            _die(fleet, device, AFTER_A_START_SECONDS, f"{when} {name}")
    _die(fleet, stays, AFTER_A_START_SECONDS, "stays")
    _die(fleet, returns, AFTER_A_START_SECONDS, "returns")
    _die(fleet, cleans, LONG_SECONDS, "cleans")
    end("before")
    # What was noted about them is committed with, or before, the answer to this one.
    with Wire.to(fleet) as wire:
        wire.enter(fleet.device(), clean=False).publish("devices/x/y", qos=2)
        assert all(eventually(lambda who=who: not fleet.can_connect(who)) for who in before.values())  # type: ignore[misc]
    fleet.server.kill9()
    end("meanwhile")
    fleet.server.start()
    with Wire.to(fleet) as observer:
        observer.enter(everyone).subscribe("devices/+/gone")
        end("after")
        with Wire.to(fleet) as wire:
            assert wire.enter(returns, clean=False).is_session_present
            wire.disconnect()
        with Wire.to(fleet) as wire:
            assert not wire.enter(cleans).is_session_present
            assert [got.payload for got in observer.hear()] == [b"cleans"]
        _die(fleet, fleet.device(), AFTER_A_START_SECONDS + 1, "control")
        assert _heard_until(observer, "control") == ["stays", "control"]
        # Nothing is left that a later start would publish.
        with closing(sqlite3.connect(fleet.server.data_dir / "broker.db")) as look:
            assert eventually(lambda: look.execute("SELECT count(*) FROM wills").fetchone() == (0,))
