"""What comes before a CONNECT, or in its place, is closed at once and leaves no descriptor behind."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fleet import running
from tests.support.measure import bound_count, has_closed_sockets, log_lines, open_sockets
from tests.support.packets import DISCONNECT, PINGREQ, Will, connect, packet, publish, subscribe
from tests.support.reasons import Says
from tests.support.streams import TcpStream
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


CONNECT_TIMEOUT_SECONDS = 1.0
MAX_CONNECT_BYTES = 512
SLACK_SECONDS = 3.0
NOT_AUTHORIZED = 5
CONNECT_HEADER = b"\x10"

NO_CONNECT = {
    "publish": publish("devices/x/state", b"forged"),
    "subscribe": subscribe(1, "#"),
    "pingreq": PINGREQ,
    "disconnect": DISCONNECT,
    "connack": packet(2, 0, b"\0\0"),
    "puback": packet(4, 0, b"\0\1"),
    "reserved_type_0": b"\0\0",
    "reserved_type_15": b"\xf0\0",
    "connect_with_flags": packet(1, 1, b"x"),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "empty_connect": b"\x10\0",
    "length_of_five_bytes": b"\x10\xff\xff\xff\xff\x7f",
    "over_max_connect_bytes": CONNECT_HEADER + b"\x81\x04",
    "announced_256_mib": CONNECT_HEADER + b"\xff\xff\xff\x7f",
}

BEGINNINGS = (b"", b"\x10", b"\x10\x80", b"\x10\x40", b"\x10\x40\0\4MQ")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that waits for a CONNECT no longer than a second."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS, max_connect_bytes=MAX_CONNECT_BYTES) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def who(fleet: Fleet) -> Credentials:
    """Enrol a device."""
    return fleet.device()


def _assert_freed(fleet: Fleet, before: int, wire: Wire, *, websocket: bool) -> None:
    if websocket:
        # The closing handshake waits for the client's side; the test of those who don't close theirs is below.
        wire.close()
    assert has_closed_sockets(fleet, before)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("kind", NO_CONNECT)
def test_first_packet_is_no_connect(fleet: Fleet, kind: str, *, websocket: bool) -> None:
    """Closed without an answer, at once, whatever else would have come, and the descriptor is free again."""
    before = open_sockets(fleet)
    with Wire.to(fleet, websocket=websocket) as wire:
        began = time.monotonic()
        wire.send(NO_CONNECT[kind])
        assert wire.read() is None
        assert time.monotonic() - began < CONNECT_TIMEOUT_SECONDS
        _assert_freed(fleet, before, wire, websocket=websocket)


@BOTH_TRANSPORTS
def test_connect_as_long_as_allowed(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """A CONNECT of exactly `max_connect_bytes` is served; one more byte, announced or sent, closes the connection."""

    def attempt(length: int) -> bytes:
        will_topic = who.topic("gone")
        options: dict[str, Any] = {"username": who.key, "password": who.secret}
        spare = length - (len(connect(who.client_id, will=Will(will_topic, b""), **options)) - 3)
        return connect(who.client_id, will=Will(will_topic, bytes(spare)), **options)

    with Wire.to(fleet, websocket=websocket) as wire:
        assert wire.log_in(attempt(MAX_CONNECT_BYTES)) == 0
    with Wire.to(fleet, websocket=websocket) as wire:
        assert wire.log_in(attempt(MAX_CONNECT_BYTES + 1)) is None


@BOTH_TRANSPORTS
def test_connect_announced_too_long_is_logged_once(fleet: Fleet, *, websocket: bool) -> None:
    """One line tells which bound it was, however often it happens and from wherever; each is counted."""
    source = "127.0.0.41" if websocket else "127.0.0.42"
    count = bound_count(fleet, "max_connect_bytes")
    for _ in range(3):
        with Wire.to(fleet, websocket=websocket, source=source) as wire:
            wire.send(CONNECT_HEADER + b"\xff\xff\xff\x7f" + bytes(100))
            assert wire.is_closed_by_broker()
    assert bound_count(fleet, "max_connect_bytes") == count + 3
    assert len(log_lines(fleet, "bound_reached", bound="max_connect_bytes")) == 1


@BOTH_TRANSPORTS
def test_connects_that_never_end(fleet: Fleet, *, websocket: bool) -> None:
    """Closed after `connect_timeout_seconds`, wherever they stop, and their descriptors are free again."""
    before = open_sockets(fleet)
    with ExitStack() as stack:
        began = time.monotonic()
        wires = [stack.enter_context(Wire.to(fleet, websocket=websocket)) for _ in BEGINNINGS]
        for wire, beginning in zip(wires, BEGINNINGS, strict=True):
            wire.send(beginning)
        for wire in wires:
            assert wire.read() is None
            took = time.monotonic() - began
            assert CONNECT_TIMEOUT_SECONDS * 0.9 < took < CONNECT_TIMEOUT_SECONDS + SLACK_SECONDS
    assert has_closed_sockets(fleet, before)


def _drip(wire: Wire, data: bytes) -> None:
    for byte in data:
        wire.stream.send(bytes([byte]))
        time.sleep(0.05)


@BOTH_TRANSPORTS
def test_connect_dripped(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """Sending a byte now and then buys no time: the whole CONNECT has to come within the timeout."""
    attempt = connect(who.client_id, username=who.key, password=who.secret)
    with Wire.to(fleet, websocket=websocket) as wire:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            _drip(wire, attempt)
        assert time.monotonic() - began < CONNECT_TIMEOUT_SECONDS + SLACK_SECONDS


@BOTH_TRANSPORTS
def test_connect_byte_by_byte_in_time(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """How the bytes are cut makes no difference."""
    attempt = connect(who.client_id, username=who.key, password=who.secret)
    with Wire.to(fleet, websocket=websocket) as wire:
        for byte in attempt[:-1]:
            wire.send(bytes([byte]))
        assert wire.log_in(attempt[-1:]) == 0


@BOTH_TRANSPORTS
@pytest.mark.parametrize(("protocol", "level"), [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0x84)])
def test_connect_of_another_protocol(
    fleet: Fleet, who: Credentials, protocol: str, level: int, *, websocket: bool
) -> None:
    """CONNACK 1, session-present 0, and a close, also for good credentials."""
    before = open_sockets(fleet)
    with Wire.to(fleet, websocket=websocket) as wire:
        attempt = connect(who.client_id, username=who.key, password=who.secret, protocol=protocol, level=level)
        assert wire.log_in(attempt) == 1
        assert wire.is_closed_by_broker()
        _assert_freed(fleet, before, wire, websocket=websocket)


@BOTH_TRANSPORTS
def test_second_connect(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """A second CONNECT closes the connection without an answer, and the will goes out (3.1.0-2, 3.1.2-8)."""
    attempt = connect(who.client_id, username=who.key, password=who.secret, will=Will(who.topic("gone"), b"gone"))
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(fleet.application()).subscribe(who.topic("gone"))
        assert wire.log_in(attempt) == 0
        assert not wire.is_session_present
        wire.send(attempt)
        assert wire.is_closed_for(Says.PROTOCOL_ERROR)
        assert [message.payload for message in backend.hear()] == [b"gone"]


def test_first_packets_behind_each_other(fleet: Fleet, who: Credentials) -> None:
    """What is sent in one go with the CONNECT is served after it, and never if it is refused."""
    topic = who.topic("early")
    early = subscribe(1, topic, qos=0) + publish(topic, b"early") + DISCONNECT
    with Wire.to(fleet) as backend:
        backend.enter(fleet.application()).subscribe(topic)
        with Wire.to(fleet) as wire:
            assert wire.log_in(connect(who.client_id, username=who.key, password="no") + early) == NOT_AUTHORIZED
            assert wire.read() is None
        assert backend.publications() == []
        with Wire.to(fleet) as wire:
            wire.send(connect(who.client_id, username=who.key, password=who.secret) + early)
            assert wire.hear(acknowledges=False)[0].payload == b"early"
        assert [message.payload for message in backend.hear()] == [b"early"]


def test_upgrade_that_never_ends(fleet: Fleet) -> None:
    """A WebSocket upgrade has to come within `connect_timeout_seconds` as well."""
    before = open_sockets(fleet)
    with ExitStack() as stack:
        for start in (b"", b"GET /mqtt HTTP/1.1\r\n", b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgr"):
            stack.enter_context(TcpStream(fleet.server.ws_port, start))
        assert has_closed_sockets(fleet, before, CONNECT_TIMEOUT_SECONDS + SLACK_SECONDS)


def test_upgraded_connections_that_stay_open(fleet: Fleet) -> None:
    """A WebSocket client that was refused and doesn't take part in the closing handshake loses its connection too."""
    before = open_sockets(fleet)
    with ExitStack() as stack:
        for _ in range(20):
            wire = stack.enter_context(Wire.to(fleet, websocket=True))
            wire.send(PINGREQ)
        assert has_closed_sockets(fleet, before, CONNECT_TIMEOUT_SECONDS + SLACK_SECONDS)


@BOTH_TRANSPORTS
def test_thousand_first_packets_leave_nothing_open(fleet: Fleet, *, websocket: bool) -> None:
    """Descriptors are back where they were after a thousand connections of every kind."""
    before = open_sockets(fleet)
    kinds = list(NO_CONNECT.values())
    for number in range(0, 1000, 50):
        with ExitStack() as stack:
            for offset in range(50):
                wire = stack.enter_context(Wire.to(fleet, websocket=websocket))
                wire.send(kinds[(number + offset) % len(kinds)])
    assert has_closed_sockets(fleet, before)
