"""Keep alive and pings (3.1.2.10, 3.12)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import PINGREQ, Kind, Will, acknowledgement, publish
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION

EARLIEST, LATEST = 1.5, 5.0
"""Seconds after which a keep alive of one second has run out, and until which it must have had an effect."""


@pytest.mark.parametrize("count", [1, 3])
def test_ping(mqtt: Clients, count: int) -> None:
    """Every PINGREQ is answered by one PINGRESP, which has nothing but its header (3.12.4-1; MQTT 5: 3.12.4-1)."""
    wire = mqtt.connect()
    wire.send(PINGREQ * count)
    for _ in range(count):
        got = wire.read()
        assert got is not None
        assert (got.kind, got.flags, got.body) == (Kind.PINGRESP, 0, b"")
    wire.settle()
    assert not wire.inbox


def test_silent_client(mqtt: Clients) -> None:
    """After 1.5 times its keep alive a silent client is disconnected, with its will, and not sooner (3.1.2-24).

    MQTT 5: 3.1.2-22, 3.2.2-22.
    """
    witness = mqtt.subscriber(mqtt.topic("will"))
    began = time.monotonic()
    wire = mqtt.connect(keep_alive_seconds=1, will=Will(mqtt.topic("will")))
    assert wire.is_closed_for(0x8D)
    assert EARLIEST <= time.monotonic() - began <= LATEST
    assert witness.publication().payload == b"gone"


def test_silent_reader(mqtt: Clients) -> None:
    """What the broker sends doesn't count: a client that only receives is disconnected as well (3.1.2-24).

    MQTT 5: 3.1.2-22.
    """
    topic = mqtt.topic("news")
    reader = mqtt.connect(keep_alive_seconds=1)
    reader.subscribe(topic)
    publisher = mqtt.connect()
    deadline = time.monotonic() + LATEST
    while not reader.is_closed_by_broker(0.2):
        assert time.monotonic() < deadline
        publisher.publish(topic)
    assert reader.inbox


def test_packet_that_never_ends(mqtt: Clients) -> None:
    """Only whole packets count: one that comes byte by byte keeps nobody connected (3.1.2-24; MQTT 5: 3.1.2-22)."""
    began = time.monotonic()
    wire = mqtt.connect(keep_alive_seconds=1)
    for byte in publish(mqtt.topic("slow"), bytes(60)):
        wire.send(bytes([byte]))
        if wire.is_closed_by_broker(0.1):
            break
    assert EARLIEST <= time.monotonic() - began <= LATEST


def test_client_that_speaks(mqtt: Clients) -> None:
    """Any packet starts the time anew (3.1.2-24; MQTT 5: 3.1.2-22)."""
    spoken = [PINGREQ, publish(mqtt.topic("x")), acknowledgement(Kind.PUBACK, 9)]
    wires = [mqtt.connect(keep_alive_seconds=2) for _ in spoken]
    for _ in range(5):
        time.sleep(0.8)
        for wire, sent in zip(wires, spoken, strict=True):
            wire.send(sent)
    for wire in wires:
        wire.settle()


def test_keep_alive_of_zero(mqtt: Clients) -> None:
    """A keep alive of 0 switches it off (3.1.2.10)."""
    wire = mqtt.connect(keep_alive_seconds=0)
    assert not wire.is_closed_by_broker(1.2)
    wire.settle()
