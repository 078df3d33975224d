"""Devices that may only publish so fast: what they send is handled later, all of it and in order; others don't notice.

A minimum of time is asserted, which no load of the machine makes shorter, and never a maximum.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.fleet import running
from tests.support.http import NOBODY_TRUSTED
from tests.support.measure import bound_count
from tests.support.packets import Will, connect, publish
from tests.support.versions import in_turn, only_3_1_1, only_5
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

PER_SECOND, BYTES_PER_SECOND = 40, 20_000
FLOOD = 100
MESSAGES, BYTES = "max_messages_per_second", "max_bytes_per_second"
FREE, SLOW = "FREE-", "SLOW-"
"""How the serials of two profiles begin."""
SLOW_BYTES_PER_SECOND = 500


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose devices have a rate, but for those of two profiles."""
    profiles = {
        "free": {"serials": f"{FREE}.*", MESSAGES: 0, BYTES: 0},
        "slow": {"serials": f"{SLOW}.*", BYTES: SLOW_BYTES_PER_SECOND},
    }
    with running(
        tmp_path_factory.mktemp("server"),
        environment={"FLEETKEY_PROFILES": json.dumps(profiles)},
        max_messages_per_second=PER_SECOND,
        max_bytes_per_second=BYTES_PER_SECOND,
    ) as fleet:
        yield fleet


@pytest.fixture
def backend(fleet: Fleet) -> Iterator[Wire]:
    """Let a back end listen to what every device says."""
    with Wire.to(fleet) as wire:
        wire.enter(fleet.application()).subscribe("devices/+/state", qos=2)
        # What other tests retained.
        wire.publications()
        yield wire


def _device(fleet: Fleet, serial: str = "") -> Credentials:
    if not serial:
        return fleet.device()
    serial += fleet.serial()
    with fleet.store() as store:
        store.add_serials([serial], actor="test")
    return fleet.register(serial)


def _held_back_seconds(fleet: Fleet, bound: str) -> float:
    answer = httpx.get(f"{fleet.server.url}/metrics", verify=NOBODY_TRUSTED).text
    found = re.search(rf'^fleetkey_mqtt_held_back_seconds_total{{bound="{bound}"}} ([0-9.e+-]+)$', answer, re.MULTILINE)
    return float(found[1]) if found is not None else 0.0


def _flood(device: Credentials, count: int = FLOOD, *, qos: int = 0, payload: str = "", retain: bool = False) -> bytes:
    return b"".join(
        publish(device.topic("state"), f"{number} {payload}".encode(), qos=qos, number=number + 1, retain=retain)
        for number in range(count)
    )


def _numbers(backend: Wire, count: int = FLOOD) -> list[int]:
    return [int(message.payload.split()[0]) for message in backend.hear(count)]


@in_turn("websocket", [False, True])
@pytest.mark.parametrize(("qos", "retain"), [(0, False), (1, False), (2, False), (0, True)])
def test_max_messages_per_second(fleet: Fleet, backend: Wire, qos: int, *, retain: bool, websocket: bool) -> None:
    """A flood arrives whole and in order, as fast as the device may publish; what is behind it waits."""
    device = _device(fleet)
    before, seconds_before = bound_count(fleet, MESSAGES), _held_back_seconds(fleet, MESSAGES)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        began = time.monotonic()
        wire.send(_flood(device, qos=qos, retain=retain))
        wire.settle()
        assert time.monotonic() - began >= (FLOOD - 1) / PER_SECOND - 1
        assert _numbers(backend) == list(range(FLOOD))
    assert bound_count(fleet, MESSAGES) > before
    assert _held_back_seconds(fleet, MESSAGES) > seconds_before


def test_max_bytes_per_second(fleet: Fleet, backend: Wire) -> None:
    """Bytes count too; a message larger than one second's worth arrives, and is waited for afterwards."""
    device, large = _device(fleet), 2 * BYTES_PER_SECOND
    before = bound_count(fleet, BYTES)
    with Wire.to(fleet) as wire:
        wire.enter(device)
        began = time.monotonic()
        wire.publish(device.topic("state"), b"0 " + bytes(large))
        wire.publish(device.topic("state"), b"1")
        assert _numbers(backend, 2) == [0, 1]
        assert time.monotonic() - began >= large / BYTES_PER_SECOND - 1
    assert bound_count(fleet, BYTES) == before + 1


def test_refused_messages_count(fleet: Fleet) -> None:
    """What is published to another's topic is not delivered, and counts."""
    device, other = _device(fleet), _device(fleet)
    before = bound_count(fleet, MESSAGES)
    with Wire.to(fleet) as wire:
        wire.enter(device).send(publish(other.topic("state"), b"x") * (PER_SECOND + 10))
        wire.settle()
    assert bound_count(fleet, MESSAGES) > before


@only_5
def test_reconnecting(fleet: Fleet, backend: Wire) -> None:
    """Neither a new connection nor one that takes over another has a rate of its own."""
    device = _device(fleet)
    began = time.monotonic()
    sent = 0
    for _ in range(3):
        with Wire.to(fleet) as wire:
            wire.enter(device)
            for _ in range(PER_SECOND):
                wire.publish(device.topic("state"), f"{sent}".encode(), qos=1)
                sent += 1
            with Wire.to(fleet) as taking_over:
                taking_over.enter(device).publish(device.topic("state"), f"{sent}".encode(), qos=1)
                sent += 1
    assert time.monotonic() - began >= (sent - 1) / PER_SECOND - 1
    assert _numbers(backend, sent) == list(range(sent))


def test_others_meanwhile(fleet: Fleet, backend: Wire) -> None:
    """While a device is held back, another one, a new one and its own receiver are served as usual."""
    device, victim = _device(fleet, SLOW), _device(fleet)
    with Wire.to(fleet) as flooder, Wire.to(fleet) as wire:
        flooder.enter(device).subscribe(device.topic("command"))
        backend.subscribe("devices/+/later")
        # Ten seconds' worth at once, and then one more.
        flooder.send(publish(device.topic("state"), bytes(10 * SLOW_BYTES_PER_SECOND)), publish("x", b"never heard"))
        flooder.send(publish(device.topic("later"), b"later"))
        assert len(backend.hear()) == 1
        wire.enter(victim)
        for number in range(10):
            wire.publish(victim.topic("state"), f"{number}".encode(), qos=1)
        assert _numbers(backend, 10) == list(range(10))
        backend.publish(device.topic("command"), b"delivered all the same")
        assert [message.payload for message in flooder.hear()] == [b"delivered all the same"]
        with Wire.to(fleet) as another:
            another.enter(_device(fleet)).settle()
        assert backend.publications() == []


@only_5
def test_keep_alive(fleet: Fleet, backend: Wire) -> None:
    """A device that is held back for longer than its keep-alive isn't closed for a silence that isn't its own."""
    device = _device(fleet, SLOW)
    with Wire.to(fleet) as wire:
        wire.enter(device, keep_alive_seconds=1)
        wire.send(publish(device.topic("state"), b"0 " + bytes(5 * SLOW_BYTES_PER_SECOND)))
        wire.send(publish(device.topic("state"), b"1"))
        began = time.monotonic()
        assert _numbers(backend, 2) == [0, 1]
        assert time.monotonic() - began >= 3
        wire.settle()


@only_3_1_1
def test_will_counts(fleet: Fleet, backend: Wire) -> None:
    """A will is published at once, and counts for what the device publishes next."""
    device = _device(fleet, SLOW)
    before = bound_count(fleet, BYTES)
    with Wire.to(fleet) as wire:
        will = Will(device.topic("state"), b"0 " + bytes(3 * SLOW_BYTES_PER_SECOND))
        assert wire.log_in(connect(device.client_id, device.key, device.secret, will=will)) == 0
    assert _numbers(backend, 1) == [0]
    assert bound_count(fleet, BYTES) == before
    with Wire.to(fleet) as wire:
        began = time.monotonic()
        wire.send(connect(device.client_id, device.key, device.secret), publish(device.topic("state"), b"1"))
        assert _numbers(backend, 1) == [1]
        assert time.monotonic() - began >= 1
    assert bound_count(fleet, BYTES) > before


def test_profile(fleet: Fleet, backend: Wire) -> None:
    """A profile's values are the device's, and an operator sees them; applications have none."""
    free, slow = _device(fleet, FREE), _device(fleet, SLOW)
    with fleet.store() as store:
        policies = [store.get_device(device.device_id).policy for device in (free, slow)]
    assert [(policy.max_messages_per_second, policy.max_bytes_per_second) for policy in policies] == [
        (0, 0),
        (None, SLOW_BYTES_PER_SECOND),
    ]
    before = bound_count(fleet, MESSAGES), bound_count(fleet, BYTES)
    payload = "x" * (2 * BYTES_PER_SECOND // FLOOD)
    with Wire.to(fleet) as wire:
        wire.enter(free).send(_flood(free, payload=payload))
        assert _numbers(backend) == list(range(FLOOD))
    with Wire.to(fleet) as wire:
        wire.enter(fleet.application()).send(_flood(free, payload=payload))
        assert _numbers(backend) == list(range(FLOOD))
    assert (bound_count(fleet, MESSAGES), bound_count(fleet, BYTES)) == before


def test_leaving_while_held_back(fleet: Fleet, backend: Wire) -> None:
    """What a device sent before its DISCONNECT arrives, though the device was held back when it sent that."""
    device = _device(fleet)
    with Wire.to(fleet) as wire:
        wire.enter(device).send(_flood(device))
        wire.disconnect()
    assert _numbers(backend) == list(range(FLOOD))
    assert eventually(lambda: backend.publications() == [])
