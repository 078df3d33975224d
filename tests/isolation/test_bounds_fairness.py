"""One client's flood, of whatever kind, doesn't keep another from being served.

The benchmark has the figures; `tests/integration/broker/test_packets_per_turn.py` counts what a flood gets at once.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tests.support.flood import FLOODS, flooding
from tests.support.packets import connect, publish
from tests.support.streams import TcpStream
from tests.support.versions import in_turn, only_3_1_1
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

ROUND_TRIPS = 60


def _round_trips(wire: Wire, device: Credentials) -> None:
    """Let a device that is subscribed to it send to a topic of its own, again and again, and hear each message."""
    for number in range(ROUND_TRIPS):
        payload = str(number).encode()
        wire.send(publish(device.topic("x"), payload))
        assert [message.payload for message in wire.hear()] == [payload]


@in_turn("kind", FLOODS)
def test_flood_of_one_device(fleet: Fleet, kind: str) -> None:
    """While one device sends as fast as it can, another hears each of its messages to itself."""
    attacker, device = fleet.device(), fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        log_in = connect(attacker.client_id, username=attacker.key, password=attacker.secret)
        with flooding(fleet.server.mqtt_port, log_in, FLOODS[kind](attacker)):
            _round_trips(wire, device)


@only_3_1_1
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
                    attempt = connect(device.client_id, device.key, f"{number:064x}")
                    stream = TcpStream(fleet.server.mqtt_port, attempt, source="127.0.0.3")
                    stack.enter_context(stream)
                stream.receive()

    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        thread = threading.Thread(target=guess, daemon=True)
        thread.start()
        try:
            _round_trips(wire, device)
            with Wire.to(fleet) as other:
                other.enter(fleet.device()).disconnect()
        finally:
            stopped.set()
            thread.join(10)
