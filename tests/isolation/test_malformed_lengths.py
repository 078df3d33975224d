"""A message is passed on as it came only if its length is spelt as everybody reads it, whatever came before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import publish, text
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

SIZES = (126, 127, 128, 129, 16_382, 16_383, 16_384, 16_385, 20_000)
CONTINUES = 0x80


def _spelt(length: int, digits: int) -> bytes:
    """Spell a remaining length in so many bytes, the last of which says that it continues if it doesn't fit."""
    spelt = bytearray(length >> 7 * place & 0x7F | CONTINUES for place in range(digits))
    if not length >> 7 * digits:
        spelt[-1] &= 0x7F
    return bytes(spelt)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("size", SIZES)
def test_every_length_arrives(fleet: Fleet, size: int, *, websocket: bool) -> None:
    """Messages of every length, one after the other to one topic, arrive as they are."""
    device = fleet.device()
    topic = device.topic("x")
    payload = b"z" * (size - len(topic) - 2)
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(fleet.application()).subscribe(topic)
        wire.enter(device)
        for number in range(3):
            wire.send(publish(topic, b"%d" % number))
            time.sleep(0.02)
            wire.send(publish(topic, payload))
            time.sleep(0.02)
        assert [len(message.payload) for message in backend.hear(6)] == [1, len(payload)] * 3


@BOTH_TRANSPORTS
@pytest.mark.parametrize(("length", "digits"), [(127, 2), (127, 3), (16_383, 3), (16_384, 2), (20_000, 2), (32_767, 2)])
def test_length_that_is_spelt_otherwise(fleet: Fleet, length: int, digits: int, *, websocket: bool) -> None:
    """A length in more bytes than it needs, or that goes on into the topic, reaches nobody."""
    device = fleet.device()
    # The topic's own length begins with a byte that would end a remaining length that goes on.
    topic = device.topic("").ljust(256, "x") if length > 1000 else device.topic("x")
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(fleet.application()).subscribe("devices/+/#")
        wire.enter(device).send(publish(topic, b"first"))
        assert [message.payload for message in backend.hear()] == [b"first"]
        wire.send(b"\x30" + _spelt(length, digits) + text(topic).ljust(length, b"z"))
        time.sleep(0.1)
        # Whoever waits for more of the message gets it, and a message of somebody else behind it.
        other = fleet.device()
        wire.send(publish(device.topic("x"), bytes(100)) + publish(other.topic("state"), b"forged"))
        heard = backend.publications()
        assert {message.topic for message in heard} <= {topic, device.topic("x")}
        assert b"forged" not in [message.payload for message in heard]
