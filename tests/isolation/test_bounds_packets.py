"""How long a packet and a topic may be, however the bytes come."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import MEBIBYTE, log_lines, memory_bytes
from tests.support.packets import (
    Kind,
    Will,
    connect,
    granted_of,
    no_properties,
    number_of,
    packet,
    publish,
    subscribe,
    unsubscribe,
)
from tests.support.reasons import Says
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


REFUSED, NOT_AUTHORIZED = 0x80, 5
MAX_PACKET_BYTES, MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS = 4_096, 200, 8


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose bounds are easily reached."""
    with running(
        tmp_path_factory.mktemp("server"),
        max_packet_bytes=MAX_PACKET_BYTES,
        max_topic_bytes=MAX_TOPIC_BYTES,
        max_topic_levels=MAX_TOPIC_LEVELS,
    ) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def device(fleet: Fleet) -> Credentials:
    """Enrol a device."""
    return fleet.device()


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


def _publish(device: Credentials, length: int) -> bytes:
    topic = device.topic("state")
    return publish(topic, bytes(length - 4 - len(topic) - len(no_properties())), qos=1)


def _subscribe(device: Credentials, length: int) -> bytes:
    """Fill a SUBSCRIBE with filters of the device's own."""
    each = len(device.topic("")) + 3
    length -= len(no_properties())
    count = (length - 2) // each - 1
    filters = [device.topic("")] * count
    return subscribe(1, *filters, device.topic("").ljust(length - 2 - count * each - 3, "x"))


LONG = {"publish": (_publish, Kind.PUBACK), "subscribe": (_subscribe, Kind.SUBACK)}
WAYS = {"in_one_piece": MAX_PACKET_BYTES * 2, "in_pieces": 100, "byte_by_byte": 1}


@BOTH_TRANSPORTS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LONG)
def test_max_packet_bytes(fleet: Fleet, kind: str, way: str, *, websocket: bool) -> None:
    """A packet of exactly that length is served; the announcement of one more byte closes the connection.

    One line of the log says so, however often it happens.
    """
    build, answer = LONG[kind]
    device = fleet.device()
    for _ in range(2):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device)
            _send(wire, build(device, MAX_PACKET_BYTES), WAYS[way])
            assert wire.find(answer) is not None
            _send(wire, build(device, MAX_PACKET_BYTES + 1)[:3], WAYS[way])
            assert wire.find(answer) is None
    assert len(log_lines(fleet, "bound_reached", bound="max_packet_bytes", client_id=device.client_id)) == 1


def _send(wire: Wire, data: bytes, piece: int) -> None:
    for start in range(0, len(data), piece):
        wire.send(data[start : start + piece])


@BOTH_TRANSPORTS
def test_packet_announced_as_the_longest_there_is(fleet: Fleet, device: Credentials, *, websocket: bool) -> None:
    """256 MiB are refused by their announcement; what was sent of them is not kept."""
    before = memory_bytes(fleet)
    for _ in range(20):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device)
            wire.send(b"\x30\xff\xff\xff\x7f" + bytes(500_000))
            assert wire.is_told(Says.TOO_LARGE)
    assert memory_bytes(fleet) - before < 6 * MEBIBYTE


@BOTH_TRANSPORTS
def test_packets_that_never_end(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Many connections with nearly all of a longest packet sent cost about that, and nobody else anything."""
    device = fleet.device()
    nearly = _publish(device, MAX_PACKET_BYTES)[:-1]
    before = memory_bytes(fleet)
    with Wire.to(fleet) as other, ExitStack() as stack:
        other.enter(device).subscribe(device.topic("x"))
        for number in range(200):
            wire = stack.enter_context(Wire.to(fleet, websocket=websocket))
            _send(wire.enter(replace(backend_key, client_id=f"app-{number}")), nearly, 500)
        assert memory_bytes(fleet) - before < 200 * (MAX_PACKET_BYTES + 60_000 * websocket) + 6 * MEBIBYTE
        other.publish(device.topic("x"), b"served")
        assert [message.payload for message in other.publications()] == [b"served"]


def _long(device: Credentials, length: int) -> str:
    return device.topic("").ljust(length, "x")


def _deep(device: Credentials, levels: int) -> str:
    return device.topic("/".join("x" * (levels - 2)))


TOPICS = {
    "max_topic_bytes": (_long, MAX_TOPIC_BYTES),
    "max_topic_levels": (_deep, MAX_TOPIC_LEVELS),
}


@BOTH_TRANSPORTS
@pytest.mark.parametrize("retain", [False, True], ids=["live", "retained"])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("bound", TOPICS)
def test_topic_to_publish(
    fleet: Fleet, device: Credentials, bound: str, qos: int, *, retain: bool, websocket: bool
) -> None:
    """A topic at the bound is served; one beyond closes the connection and reaches nobody."""
    build, most = TOPICS[bound]
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device).subscribe(device.topic("#"))
        wire.publications()
        wire.publish(build(device, most), b"served", qos=qos, retain=retain)
        assert [message.payload for message in wire.publications()] == [b"served"]
        wire.publish(build(device, most), b"", retain=True)
        wire.publications()
        wire.send(publish(build(device, most + 1), b"beyond", qos=qos, retain=retain))
        assert wire.is_closed_for(Says.BAD_TOPIC)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("bound", TOPICS)
def test_filter(fleet: Fleet, device: Credentials, bound: str, *, websocket: bool) -> None:
    """A filter at the bound is granted; one beyond is refused with 0x80, among others that are granted."""
    build, most = TOPICS[bound]
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        assert wire.subscribe(build(device, most), build(device, most + 1), device.topic("a")) == [0, REFUSED, 0]
        answer = wire.ask(unsubscribe(9, build(device, most), build(device, most + 1)), Kind.UNSUBACK)
        assert number_of(answer) == 9


@BOTH_TRANSPORTS
@pytest.mark.parametrize("retain", [False, True], ids=["live", "retained"])
@pytest.mark.parametrize("bound", TOPICS)
def test_topic_of_a_will(
    fleet: Fleet, device: Credentials, backend_key: Credentials, bound: str, *, retain: bool, websocket: bool
) -> None:
    """A will's topic is a topic: beyond the bound it keeps its owner out, or at least it is never published."""
    build, most = TOPICS[bound]
    with Wire.to(fleet) as backend:
        backend.enter(backend_key).subscribe(device.topic("#"))
        for length, heard in ((most, [b"gone"]), (most + 1, [])):
            with Wire.to(fleet, websocket=websocket) as wire:
                will = Will(build(device, length), b"gone", retain=retain)
                code = wire.log_in(connect(device.client_id, device.key, device.secret, will=will))
                assert code in ({0} if heard else {0, NOT_AUTHORIZED, None})
            with Wire.to(fleet) as again:
                # Its coming back shows that the broker has noticed the end of the first connection.
                again.enter(device).disconnect()
            assert [message.payload for message in backend.hear(1, seconds=0.5)] == heard
        with Wire.to(fleet) as wire:
            wire.enter(device).publish(build(device, most), b"", retain=True)


def test_subscribe_with_thousands_of_filters(fleet: Fleet, device: Credentials) -> None:
    """As many filters as fit into a packet are answered one by one, or the connection is closed."""
    body = b"\0\1" + no_properties() + b"\0\1x\0" * ((MAX_PACKET_BYTES - 2) // 4)
    with Wire.to(fleet) as wire:
        wire.enter(device).send(packet(8, 2, body))
        answer = wire.find(Kind.SUBACK)
        assert answer is None or granted_of(answer) == [REFUSED] * ((MAX_PACKET_BYTES - 2) // 4)
