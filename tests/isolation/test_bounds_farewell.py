"""A client of MQTT 5 can read why it is disconnected, even in the middle of sending; but not by sending for ever."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.connection_lifecycle import MAX_DISCARDED_BYTES
from tests.support.packets import Kind, packet, publish, reason_of
from tests.support.versions import LEVEL_5, speaking
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet

MALFORMED = packet(Kind.PINGREQ, 1, b"")
PIECE = bytes(64 * 1024)


@pytest.fixture(autouse=True)
def _five() -> Iterator[None]:
    with speaking(LEVEL_5):
        yield


def test_reason_is_read(fleet: Fleet) -> None:
    """What it still sends doesn't reset the connection before it has read the reason."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        wire.send(MALFORMED)
        # By now the broker has closed its side.
        time.sleep(0.2)
        for _ in range(3):
            wire.stream.send(publish(device.topic("a"), b"more", qos=1))
            time.sleep(0.02)
        assert reason_of(wire.receive(Kind.DISCONNECT)) == 0x81
        assert wire.is_closed_by_broker()


def test_sending_for_ever(fleet: Fleet) -> None:
    """One that goes on sending is cut off after `MAX_DISCARDED_BYTES`, long before its time is over."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device)
        wire.send(MALFORMED)
        time.sleep(0.2)
        assert _sent(wire) < 64 * MAX_DISCARDED_BYTES


def _sent(wire: Wire) -> int:
    """Send until the connection is reset; return how many bytes that took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 64 * MAX_DISCARDED_BYTES:
            wire.stream.send(PIECE)
            sent += len(PIECE)
    return sent
