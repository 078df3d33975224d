"""One client's flood, of whatever kind, doesn't starve another's round trip. The benchmark has the real figures."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.attack import PINGREQ, Wire, open_socket, unsubscribe
from tests.support.flood import flooding
from tests.support.measure import round_trip_seconds
from tests.support.raw_mqtt import connect, publish, subscribe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Credentials, Fleet


ROUND_TRIPS = 60
FLOOD_SECONDS = 1.0
FACTOR, SLACK_SECONDS = 10, 0.01


def _own(device: Credentials, payload: bytes, *, qos: int = 0, retain: bool = False) -> bytes:
    return b"".join(
        publish(device.topic(f"state/{number}"), payload, qos=qos, number=number + 1, retain=retain)
        for number in range(100)
    )


def _filters(device: Credentials) -> list[str]:
    """Return as many filters as a device may have, again and again."""
    return [device.topic(f"a/+/{number}/#") for number in range(100)] * 9


FLOODS: dict[str, Callable[[Credentials], bytes]] = {
    "pings": lambda _: PINGREQ,
    "messages_qos_0": lambda device: _own(device, bytes(64)),
    "messages_qos_1": lambda device: _own(device, bytes(64), qos=1),
    "messages_to_itself": lambda device: subscribe(1, [device.topic("#")], 1) + _own(device, bytes(64), qos=1) * 20,
    "long_messages": lambda device: publish(device.topic("state"), bytes(200_000), qos=1),
    "foreign_messages": lambda _: publish("devices/x/state", bytes(64)) * 50,
    "retained_messages": lambda device: _own(device, bytes(200), qos=1, retain=True),
    "new_topics": lambda device: b"".join(publish(device.topic(f"{n}".ljust(900, "x")), b"") for n in range(5_000)),
    "filters": lambda device: subscribe(1, _filters(device)) + unsubscribe(2, _filters(device)),
    "retained_asked_for": lambda device: (
        _own(device, bytes(200), retain=True) + subscribe(1, [device.topic("#")] * 100) * 20
    ),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_one_device(fleet: Fleet, kind: str) -> None:
    """While one device sends as fast as it can, another's messages to itself take not much longer than before."""
    attacker, device = fleet.device(), fleet.device()
    with Wire(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        idle = round_trip_seconds(wire, device.topic("x"), count=ROUND_TRIPS)
        log_in = connect(attacker.client_id, username=attacker.key, password=attacker.secret)
        with flooding(fleet.server.mqtt_port, log_in, FLOODS[kind](attacker)):
            flooded = round_trip_seconds(wire, device.topic("x"), seconds=FLOOD_SECONDS)
        assert flooded < FACTOR * idle + SLACK_SECONDS


def test_flood_of_wrong_secrets(fleet: Fleet) -> None:
    """While someone guesses secrets on fifty connections at a time, who is in is served, and a good key gets in."""
    device = fleet.device()
    stopped = threading.Event()

    def guess() -> None:
        number = 0
        while not stopped.is_set():
            with ExitStack() as stack, suppress(OSError):
                for _ in range(50):
                    number += 1
                    raw = stack.enter_context(open_socket(fleet.server.mqtt_port, "127.0.0.3"))
                    raw.sendall(connect(device.client_id, username=device.key, password=f"{number:064x}"))
                raw.recv(4)

    with Wire(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        idle = round_trip_seconds(wire, device.topic("x"), count=ROUND_TRIPS)
        thread = threading.Thread(target=guess, daemon=True)
        thread.start()
        try:
            flooded = round_trip_seconds(wire, device.topic("x"), seconds=FLOOD_SECONDS)
            with Wire(fleet) as other:
                other.enter(fleet.device()).leave()
        finally:
            stopped.set()
            thread.join(10)
        assert flooded < FACTOR * idle + SLACK_SECONDS
