"""Refusals cost no memory, however many there are and whatever they name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.measure import MEBIBYTE, has_closed_sockets, memory_bytes, open_sockets
from tests.support.packets import Will, connect
from tests.support.streams import TcpStream
from tests.support.versions import only_3_1_1
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Fleet


REFUSALS = 20_000
WARM_UP = 2_000
AT_ONCE = 200
MAX_GROWTH_BYTES = 6 * MEBIBYTE
REFUSED = (b"\x20\2\0\1", b"\x20\2\0\2", b"\x20\2\0\5")


def _refuse(fleet: Fleet, attempts: Callable[[int], bytes], numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, AT_ONCE):
        with ExitStack() as stack:
            numbers_of_now = range(first, min(first + AT_ONCE, numbers.stop))
            port = fleet.server.mqtt_port
            streams = [stack.enter_context(TcpStream(port, attempts(number))) for number in numbers_of_now]
            for stream in streams:
                assert stream.receive() in REFUSED


@only_3_1_1
@pytest.mark.timeout(180)
def test_twenty_thousand_refusals(fleet: Fleet) -> None:
    """As many persistent CONNECTs with client ids of their own, refused for this or that, leave no memory behind."""
    device, application = fleet.device(), fleet.application()

    def attempt(number: int) -> bytes:
        client_id = f"app-{number:08}-{'x' * 60}"
        topic, payload = f"devices/{number}/state", bytes(300)
        options: dict[str, Any] = {"clean": False, "will": Will(topic, payload, retain=True)}
        match number % 5:
            case 0:
                return connect(client_id, username=f"{number:032x}", password="0" * 64, **options)
            case 1:
                # A good key, and a client id that only a device may have.
                return connect(f"{number:024x}", username=application.key, password=application.secret, **options)
            case 2:
                return connect(client_id, username=device.key, password="", **options)
            case 3:
                return connect(client_id, clean=False, will=Will(topic, payload))
            case _:
                return connect(client_id, username=device.key, password=device.secret, clean=False, protocol="MQIsdp")

    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        _refuse(fleet, attempt, range(WARM_UP))
        before, open_before = memory_bytes(fleet), open_sockets(fleet)
        _refuse(fleet, attempt, range(WARM_UP, REFUSALS))
        assert memory_bytes(fleet) - before < MAX_GROWTH_BYTES
        assert has_closed_sockets(fleet, open_before)
        wire.publish(device.topic("x"), b"served")
        assert [message.payload for message in wire.publications()] == [b"served"]
