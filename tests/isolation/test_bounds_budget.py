"""Budgets for memory and disk: who takes too much is told so alone, and those who are in and small go on."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.fleet import running
from tests.support.http import NOBODY_TRUSTED
from tests.support.measure import bound_count, log_lines, memory_bytes
from tests.support.packets import publish
from tests.support.versions import only_3_1_1, only_5
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials, Fleet

MIB = 2**20
REFUSED = 0x80
LARGE, TOPICS = bytes(250_000), 60
SHARES = {
    "FLEETKEY_LIMITS__MEMORY_PER_DEVICE": "1MiB",
    "FLEETKEY_LIMITS__MEMORY_PER_APPLICATION": "2MiB",
    "FLEETKEY_LIMITS__DISK_PER_APPLICATION": "1MiB",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with small shares."""
    with running(tmp_path_factory.mktemp("server"), environment=SHARES) as fleet:
        yield fleet


@pytest.fixture
def scarce(tmp_path: Path) -> Iterator[Fleet]:
    """Run a server with little memory for more than itself."""
    with running(tmp_path, environment={"FLEETKEY_LIMITS__MEMORY": "128MiB"}) as fleet:
        yield fleet


def _charged(fleet: Fleet, resource: str) -> dict[str, int]:
    answer = httpx.get(f"{fleet.server.url}/metrics", verify=NOBODY_TRUSTED)
    found = re.findall(rf'^fleetkey_{resource}_charged_bytes{{kind="(\w+)"}} (\S+)$', answer.text, re.MULTILINE)
    return {kind: int(float(size)) for kind, size in found}


def _held_back(fleet: Fleet) -> int:
    answer = httpx.get(f"{fleet.server.url}/metrics", verify=NOBODY_TRUSTED)
    return int(float(re.findall(r"^fleetkey_memory_held_back_owners (\S+)$", answer.text, re.MULTILINE)[0]))


def _away(fleet: Fleet, key: Credentials, topic_filter: str, *numbers: int) -> None:
    """Leave sessions of an application key behind."""
    for number in numbers:
        with Wire.to(fleet) as wire:
            wire.enter(replace(key, client_id=f"{key.client_id}-{number}"), clean=False)
            wire.subscribe(topic_filter, qos=1)
            wire.disconnect()


def _fill(wire: Wire, device: Credentials, count: int) -> None:
    """Retain large messages, each acknowledged before the next."""
    for number in range(count):
        wire.publish(device.topic(f"kept/{number}"), LARGE, qos=1, retain=True)


def _flood(wire: Wire, device: Credentials) -> None:
    """Retain as much as a device may, until the connection is gone; whoever is held back waits for long."""
    with suppress(OSError):
        for number in count():
            wire.send(publish(device.topic(f"kept/{number % TOPICS}"), LARGE, retain=True))


@contextmanager
def _flooding(fleet: Fleet, devices: list[Credentials]) -> Iterator[None]:
    """Let devices retain as much as they may, until the block ends."""
    wires = [Wire.to(fleet).enter(device) for device in devices]
    with ThreadPoolExecutor(len(devices)) as pool:
        for wire, device in zip(wires, devices, strict=True):
            pool.submit(_flood, wire, device)
        try:
            yield
        finally:
            for wire in wires:
                wire.stream.end()
                wire.close()


def test_sessions_of_one_key(fleet: Fleet) -> None:
    """However many sessions a key leaves behind, their queues take its share; another key's get everything."""
    device, greedy, modest = fleet.device(), fleet.application(), fleet.application()
    _away(fleet, greedy, device.topic("#"), *range(10))
    _away(fleet, modest, device.topic("last"), 0)
    before = _charged(fleet, "memory").get("messages", 0)
    with Wire.to(fleet) as wire:
        wire.enter(device)
        for number in range(40):
            wire.publish(device.topic("x"), b"%05d" % number + bytes(50_000), qos=1)
        wire.publish(device.topic("last"), bytes(50_000), qos=1)
    charged = _charged(fleet, "memory")["messages"] - before
    assert MIB // 2 < charged < 2 * MIB
    assert _charged(fleet, "disk")["messages"] < 2 * MIB
    assert bound_count(fleet, "disk_per_application") > 0
    with Wire.to(fleet) as wire:
        assert wire.enter(replace(modest, client_id=f"{modest.client_id}-0"), clean=False).is_session_present
        assert len(wire.hear(1)) == 1
    with Wire.to(fleet) as wire:
        wire.enter(replace(greedy, client_id=f"{greedy.client_id}-0"), clean=False)
        heard = wire.hear(3)
        assert [got.payload[:5] for got in heard[:3]] == [b"%05d" % number for number in range(3)]


def test_deep_filters(fleet: Fleet) -> None:
    """Filters are refused where a key's share ends, long before their number is, and not for another key."""
    greedy, modest = fleet.application(), fleet.application()
    # Of sessions that other tests left behind.
    before = _charged(fleet, "memory").get("filters", 0)
    with Wire.to(fleet) as wire:
        wire.enter(greedy)
        answers = [wire.subscribe("/".join(["devices/+", str(number), *["x" * 20] * 28]))[0] for number in range(800)]
    granted = answers.count(0)
    assert 100 < granted < 700
    assert answers == [0] * granted + [REFUSED] * (800 - granted)
    assert bound_count(fleet, "memory_per_application") > 0
    with Wire.to(fleet) as wire:
        wire.enter(modest)
        assert wire.subscribe("devices/+/x") == [0]
    assert eventually(lambda: _charged(fleet, "memory").get("filters", 0) < before + 10_000)


def test_retained_of_one_device(fleet: Fleet) -> None:
    """What doesn't fit into a device's share isn't retained; an older value of its topic doesn't survive it."""
    device, other = fleet.device(), fleet.device()
    with Wire.to(fleet) as wire, Wire.to(fleet) as live:
        live.enter(fleet.application()).subscribe(device.topic("#"))
        wire.enter(device)
        wire.publish(device.topic("kept/9"), b"old", qos=1, retain=True)
        _fill(wire, device, 10)
        assert len(live.hear(11)) == 11
    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("#"))
        found = sorted(got.topic for got in wire.hear(4, seconds=1) if got.retain)
    assert found == [device.topic(f"kept/{number}") for number in range(len(found))]
    assert 2 <= len(found) <= 4
    with Wire.to(fleet) as wire:
        wire.enter(other)
        _fill(wire, other, 2)
        wire.subscribe(other.topic("#"))
        assert len(wire.hear(2)) == 2


def test_after_a_restart(fleet: Fleet) -> None:
    """What was stored is charged as before, but for the order in which trees grow."""
    device, key = fleet.device(), fleet.application()
    _away(fleet, key, device.topic("#"), 0, 1)
    with Wire.to(fleet) as wire:
        wire.enter(device)
        _fill(wire, device, 2)
        wire.disconnect()
    before = _charged(fleet, "memory"), _charged(fleet, "disk")
    fleet.server.restart()
    after = _charged(fleet, "memory"), _charged(fleet, "disk")
    assert after[1] == before[1]
    for kind in ("filters", "messages", "sessions"):
        assert 0.95 * before[0][kind] < after[0][kind] < 1.05 * before[0][kind]


@only_5
def test_scarce_memory(scarce: Fleet) -> None:
    """The largest are held back, and whoever is in and small goes on; it is said, and said when it is over."""
    resident = scarce.device()
    greedy = [scarce.device() for _ in range(6)]
    with Wire.to(scarce) as small:
        small.enter(resident, clean=False).subscribe(resident.topic("#"), qos=1)
        with _flooding(scarce, greedy):
            assert eventually(lambda: log_lines(scarce, "budget_reached"), seconds=30)
            for number in range(20):
                small.publish(resident.topic("x"), b"%d" % number, qos=1)
            assert [got.payload for got in small.hear(20)] == [b"%d" % number for number in range(20)]
            assert memory_bytes(scarce) < 160 * MIB
        for device in greedy:
            with scarce.store() as store:
                store.delete_device(device.device_id, actor="test")
        assert eventually(lambda: log_lines(scarce, "budget_over"))
        assert _held_back(scarce) == 0


@only_3_1_1
def test_incomplete_packets(scarce: Fleet) -> None:
    """Clients in the middle of a packet for which there is no room are closed, and others get in again."""
    resident, greedy = scarce.device(), scarce.application(all_devices=True)
    with Wire.to(scarce) as small:
        small.enter(resident, clean=False).subscribe(resident.topic("#"), qos=1)
        stuck = [Wire.to(scarce).enter(replace(greedy, client_id=f"stuck-{number}")) for number in range(300)]
        whole = publish(resident.topic("x"), LARGE)
        for wire in stuck:
            with suppress(OSError):
                wire.send(whole[:-1])
        assert eventually(lambda: log_lines(scarce, "budget_reached"))
        small.publish(resident.topic("y"), b"alive", qos=1)
        assert [got.payload for got in small.hear(1)] == [b"alive"]
        assert eventually(lambda: bound_count(scarce, "memory") > 0, seconds=30)
        with Wire.to(scarce) as late:
            late.enter(scarce.device())
        assert memory_bytes(scarce) < 160 * MIB
        for wire in stuck:
            wire.close()


def test_unread_messages_of_one_owner(fleet: Fleet) -> None:
    """Long messages of QoS 0 are charged to the owner of those who don't read them, up to its share."""
    device, greedy = fleet.device(), fleet.application(all_devices=True)
    slow = [Wire.to(fleet, receive_buffer=4_096).enter(replace(greedy, client_id=f"slow-{n}")) for n in range(60)]
    for wire in slow:
        wire.subscribe(device.topic("#"))
    with Wire.to(fleet).enter(device) as sender:
        for _ in range(8):
            sender.publish(device.topic("x"), LARGE)
        sender.publish(device.topic("y"), b"", qos=1)
        assert 0 < _charged(fleet, "memory")["connections"] < 3 * MIB
    for wire in slow:
        wire.close()
