"""Connections that say nothing are bounded, per address and in total, and keep nobody else out or waiting."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.measure import (
    MEBIBYTE,
    bound_count,
    has_closed_sockets,
    log_lines,
    memory_bytes,
    open_sockets,
    round_trip_seconds,
)
from tests.support.packets import connect
from tests.support.streams import BINARY_FRAME, TcpStream, WebSocketStream, frame
from tests.support.versions import in_turn, only_3_1_1
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fleet import Credentials, Fleet


PER_ADDRESS, PENDING, CONNECTIONS = 20, 50, 80
CONNECT_TIMEOUT_SECONDS = 3
FLOOD = 4 * PER_ADDRESS
MAX_ROUND_TRIP_SECONDS = 0.1
HOME, ELSEWHERE, ATTACKER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with few places."""
    with running(
        tmp_path_factory.mktemp("server"),
        connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
        max_pending_per_address=PER_ADDRESS,
        max_pending_connections=PENDING,
        max_connections=CONNECTIONS,
    ) as fleet:
        yield fleet


@pytest.fixture
def home(fleet: Fleet) -> Iterator[tuple[Wire, Credentials]]:
    """Let a device be in."""
    device = fleet.device()
    with Wire.to(fleet, source=HOME) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        yield wire, device


def _silent(fleet: Fleet, source: str) -> TcpStream:
    return TcpStream(fleet.server.mqtt_port, source=source)


def _silent_websocket_port(fleet: Fleet, source: str) -> TcpStream:
    return TcpStream(fleet.server.ws_port, source=source)


def _silent_websocket(fleet: Fleet, source: str) -> TcpStream:
    stream = TcpStream(fleet.server.ws_port, source=source)
    # It may be one too many.
    with suppress(ConnectionError):
        WebSocketStream(stream)
    return stream


FLOODS: dict[str, Callable[[Fleet, str], TcpStream]] = {
    "tcp": _silent,
    "websocket": _silent_websocket,
    "websocket_without_upgrade": _silent_websocket_port,
}


@contextmanager
def _flooded(fleet: Fleet, kind: str, sources: list[str], count: int) -> Iterator[None]:
    """Open silent connections, `count` from each address; all of them are gone again at the end."""
    before = open_sockets(fleet)
    with ExitStack() as stack:
        for source in sources:
            for _ in range(count):
                stack.enter_context(FLOODS[kind](fleet, source))
        # The server takes them in, or doesn't, on its own time.
        time.sleep(0.5)
        yield
    assert has_closed_sockets(fleet, before, CONNECT_TIMEOUT_SECONDS + 5)


@only_3_1_1
@pytest.mark.parametrize("kind", FLOODS)
def test_silent_connections_from_one_address(fleet: Fleet, home: tuple[Wire, Credentials], kind: str) -> None:
    """So many are taken and no more; who is in is served, and a good key gets in from another address."""
    wire, device = home
    before, count = open_sockets(fleet), bound_count(fleet, "max_pending_per_address")
    with _flooded(fleet, kind, [ATTACKER], FLOOD):
        assert has_closed_sockets(fleet, before + PER_ADDRESS, 1)
        assert round_trip_seconds(wire, device.topic("x")) < MAX_ROUND_TRIP_SECONDS
        for websocket in (False, True):
            with Wire.to(fleet, source=ELSEWHERE, websocket=websocket) as other:
                other.enter(fleet.device()).disconnect()
    assert bound_count(fleet, "max_pending_per_address") > count
    assert len(log_lines(fleet, "bound_reached", bound="max_pending_per_address")) == 1


@only_3_1_1
@pytest.mark.parametrize("kind", FLOODS)
def test_silent_connections_from_many_addresses(fleet: Fleet, home: tuple[Wire, Credentials], kind: str) -> None:
    """In total, too; who is in is served meanwhile, and a good key gets in when the time of the silent ones is over."""
    wire, device = home
    before, count = open_sockets(fleet), bound_count(fleet, "max_pending_connections")
    with _flooded(fleet, kind, [f"127.0.1.{number}" for number in range(1, 9)], PER_ADDRESS):
        assert has_closed_sockets(fleet, before + PENDING, 1)
        assert round_trip_seconds(wire, device.topic("x")) < MAX_ROUND_TRIP_SECONDS

        def gets_in() -> bool:
            try:
                with Wire.to(fleet, source=ELSEWHERE) as other:
                    attempt = connect(device.client_id, username=device.key, password=device.secret, clean=True)
                    return other.log_in(attempt) == 0
            except ConnectionError:
                return False

        assert eventually(gets_in, CONNECT_TIMEOUT_SECONDS + 2)
    assert bound_count(fleet, "max_pending_connections") > count
    assert len(log_lines(fleet, "bound_reached", bound="max_pending_connections")) == 1


@BOTH_TRANSPORTS
def test_connections_that_are_in(fleet: Fleet, *, websocket: bool) -> None:
    """At `max_connections` one more is closed, said once; those who are in are served; a free place is taken."""
    application = fleet.application()
    count = bound_count(fleet, "max_connections")
    with ExitStack() as stack:
        wires = [
            stack.enter_context(Wire.to(fleet, websocket=websocket)).enter(
                replace(application, client_id=f"app-{number}")
            )
            for number in range(CONNECTIONS)
        ]
        for _ in range(3):
            with pytest.raises((ConnectionError, AssertionError)), Wire.to(fleet, websocket=websocket) as one_more:
                one_more.enter(replace(application, client_id="app-one-more"))
        wires[0].subscribe("devices/x/y")
        wires[-1].publish("devices/x/y", b"served")
        assert [message.payload for message in wires[0].publications()] == [b"served"]
        wires[5].disconnect()
        with Wire.to(fleet, websocket=websocket) as next_one:
            next_one.enter(replace(application, client_id="app-next")).disconnect()
    assert bound_count(fleet, "max_connections") > count
    assert len(log_lines(fleet, "bound_reached", bound="max_connections")) == 1


@in_turn("websocket", [False, True])
def test_connections_of_one_address(tmp_path_factory: pytest.TempPathFactory, *, websocket: bool) -> None:
    """`max_connections_per_address` counts those who are in; another address has places of its own."""
    with running(tmp_path_factory.mktemp("server"), max_connections_per_address=10) as fleet, ExitStack() as stack:
        application = fleet.application()
        for source in (HOME, ELSEWHERE):
            for number in range(10):
                wire = stack.enter_context(Wire.to(fleet, websocket=websocket, source=source))
                wire.enter(replace(application, client_id=f"app-{source}-{number}"))
            with (
                pytest.raises((ConnectionError, AssertionError)),
                Wire.to(fleet, websocket=websocket, source=source) as one_more,
            ):
                one_more.enter(application)
        lines = log_lines(fleet, "bound_reached", bound="max_connections_per_address")
        assert [line["address"] for line in lines] in ([HOME], [HOME, ELSEWHERE])


@only_3_1_1
def test_memory_of_those_who_said_nothing_yet(fleet: Fleet) -> None:
    """Who hasn't proven who it is makes the server keep no more than a CONNECT's length, in whatever it is wrapped."""
    before = memory_bytes(fleet)
    with ExitStack() as stack:
        for number in range(2 * PER_ADDRESS):
            tcp = TcpStream(fleet.server.ws_port, source=f"127.0.2.{1 + number // PER_ADDRESS}")
            stream = stack.enter_context(WebSocketStream(tcp))
            with suppress(ConnectionError, TimeoutError):
                # A first fragment of a message: the rest is to come.
                stream.under.send(frame(b"\x10\x80" + bytes(900_000), BINARY_FRAME & 0x0F), 0.2)
        assert memory_bytes(fleet) - before < 8 * MEBIBYTE
