"""Presence: the registry says who is connected, from where, and why it went, within a flush."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import cli
from tests.support.fleet import running
from tests.support.measure import log_lines
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.registry import Presence
    from tests.support.fleet import Credentials, Fleet

FLUSH_SECONDS = 0.1
SEEN_SECONDS = 1.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that records often, and that a test kills."""
    with running(
        tmp_path_factory.mktemp("server"), presence_flush_seconds=FLUSH_SECONDS, presence_seen_seconds=SEEN_SECONDS
    ) as fleet:
        yield fleet


def _presence(fleet: Fleet, who: Credentials) -> Presence:
    with fleet.store() as store:
        return store.get_device(who.device_id).presence


def _listed(data_dir: Path, *options: str) -> list[str]:
    ended = cli("devices", "list", "--json", *options, data_dir=data_dir)
    assert ended.status == 0, ended.err
    return [device["device_id"] for device in json.loads(ended.out)]


def test_lines_of_the_log(fleet: Fleet) -> None:
    """The log says that a client connected, as it says that it went, and once what it may not do."""
    device = fleet.device()
    with Wire.to(fleet, source="127.0.0.9") as wire:
        wire.enter(device)
        for _ in range(2):
            assert wire.subscribe("#") == [0x80]
    assert eventually(lambda: log_lines(fleet, "disconnected", client_id=device.client_id))
    (line,) = log_lines(fleet, "connected", client_id=device.client_id)
    assert (line["level"], line["address"], line["is_resumed"]) == ("info", "127.0.0.9", False)
    (line,) = log_lines(fleet, "topic_refused", client_id=device.client_id)
    assert (line["level"], line["action"], line["topic"]) == ("info", "subscribe", "#")


def test_comes_and_goes(fleet: Fleet) -> None:
    """Online with its address while connected; afterwards the time and the reason of the end."""
    device, silent = fleet.device(), fleet.device()
    assert not _presence(fleet, device).is_online
    with Wire.to(fleet, source="127.0.0.9") as wire:
        wire.enter(device)
        assert eventually(lambda: _presence(fleet, device).is_online)
        online = _presence(fleet, device)
        assert online.address == "127.0.0.9"
        assert online.connected_at is not None
        assert abs(online.connected_at / 1000 - time.time()) < 5
        assert device.device_id in _listed(fleet.server.data_dir, "--online")
        assert silent.device_id not in _listed(fleet.server.data_dir, "--online")
        assert silent.device_id in _listed(fleet.server.data_dir, "--offline")
        wire.disconnect()
    assert eventually(lambda: not _presence(fleet, device).is_online)
    gone = _presence(fleet, device)
    assert (gone.reason, gone.connected_at, gone.address) == ("disconnect", online.connected_at, "127.0.0.9")
    assert gone.disconnected_at is not None
    assert gone.disconnected_at >= online.connected_at


@pytest.mark.parametrize("how", ["connection_lost", "malformed", "revoked"])
def test_reason(fleet: Fleet, how: str) -> None:
    """Each way to go has its name."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        if how == "malformed":
            wire.send(b"\xf1\x00")
        elif how == "revoked":
            with fleet.store() as store:
                store.revoke_key(device.key, actor="test")
            assert wire.is_closed_by_broker()
    assert eventually(lambda: _presence(fleet, device).reason == how)


def test_take_over(fleet: Fleet) -> None:
    """A device whose newer connection took over stays online when the older one is closed."""
    device = fleet.device()
    with Wire.to(fleet) as old, Wire.to(fleet, source="127.0.0.8") as new:
        old.enter(device)
        new.enter(device)
        assert old.is_closed_by_broker()
        assert eventually(lambda: _presence(fleet, device).address == "127.0.0.8")
        time.sleep(3 * FLUSH_SECONDS)
        assert _presence(fleet, device).is_online


def test_last_seen(fleet: Fleet) -> None:
    """It goes on while a device is heard of."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        assert eventually(lambda: _presence(fleet, device).is_online)
        before = _presence(fleet, device).last_seen_at
        assert before is not None

        def is_seen_later() -> bool:
            wire.publications()
            return (_presence(fleet, device).last_seen_at or 0) > before

        assert eventually(is_seen_later, 2 * SEEN_SECONDS + 2)


def test_nobody_is_online_after_a_kill(fleet: Fleet) -> None:
    """What a server that was killed left standing is put right by the next one, before it listens."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        assert eventually(lambda: _presence(fleet, device).is_online)
        fleet.server.kill9()
    fleet.server.start()
    after = _presence(fleet, device)
    assert (after.is_online, after.reason, after.disconnected_at) == (False, "server_ended", after.last_seen_at)


def test_deleted_device_leaves_nothing(fleet: Fleet) -> None:
    """What is noted of a device that is deleted is not recorded again."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        assert eventually(lambda: _presence(fleet, device).is_online)
        with fleet.store() as store:
            store.delete_device(device.device_id, actor="test")
        assert wire.is_closed_by_broker()
    time.sleep(3 * FLUSH_SECONDS)
    with fleet.store() as store, store._reading() as connection:
        assert not connection.execute("SELECT 1 FROM presence WHERE device_id = ?", (device.device_id,)).fetchall()


def test_clean_stop(fleet: Fleet) -> None:
    """A server that is stopped says so of everyone who was connected."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        assert eventually(lambda: _presence(fleet, device).is_online)
        fleet.server.terminate()
    gone = _presence(fleet, device)
    assert (gone.is_online, gone.reason) == (False, "shutdown")
    fleet.server.start()
