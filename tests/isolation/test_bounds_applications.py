"""What one application key may have of the broker: at each bound it alone is refused, said once, and nobody notices."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.fleet import running
from tests.support.http import NOBODY_TRUSTED
from tests.support.measure import bound_count, log_lines
from tests.support.packets import connect
from tests.support.reasons import Says
from tests.support.versions import only_3_1_1, only_5
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials, Fleet

ALL_CONNECTIONS, CONNECTIONS, SESSIONS, FILTERS = 12, 5, 8, 6
BUSY, REFUSED = 3, 0x80
FLOOD = 10


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose bounds are easily reached."""
    with running(
        tmp_path_factory.mktemp("server"),
        max_connections=ALL_CONNECTIONS,
        max_connections_per_application=CONNECTIONS,
        max_sessions_per_application=SESSIONS,
        max_filters_per_application=FILTERS,
    ) as fleet:
        yield fleet


def _client(key: Credentials, number: int) -> Credentials:
    """Return one of a key's clients."""
    return replace(key, client_id=f"{key.client_id}-{number}")


def _code(fleet: Fleet, who: Credentials, *, clean: bool = True) -> int | None:
    """Return the code of the CONNACK to another client."""
    with Wire.to(fleet) as wire:
        return wire.log_in(connect(who.client_id, who.key, who.secret, clean=clean))


def _leave_sessions(fleet: Fleet, key: Credentials, *numbers: int) -> None:
    for number in numbers:
        with Wire.to(fleet) as wire:
            wire.enter(_client(key, number), clean=False).disconnect()


def _is_said(fleet: Fleet, bound: str, key: Credentials) -> bool:
    return len(log_lines(fleet, "bound_reached", bound=bound, owner=key.key)) == 1


@BOTH_TRANSPORTS
def test_max_connections_per_application(fleet: Fleet, *, websocket: bool) -> None:
    """Further connections get CONNACK 3; taking one over, another key and a device get in, and there is room again."""
    bound, key, device = "max_connections_per_application", fleet.application(), fleet.device()
    before = bound_count(fleet, bound)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire.to(fleet, websocket=websocket)) for _ in range(CONNECTIONS)]
        for number, wire in enumerate(wires):
            wire.enter(_client(key, number))
        assert [_code(fleet, _client(key, 100 + number)) for number in range(FLOOD)] == [BUSY] * FLOOD
        assert bound_count(fleet, bound) == before + FLOOD
        assert _is_said(fleet, bound, key)
        taking_over = stack.enter_context(Wire.to(fleet, websocket=websocket)).enter(_client(key, 0))
        assert wires[0].is_told(Says.TAKEN_OVER)
        assert eventually(lambda: _code(fleet, _client(key, 100)) == BUSY)
        with Wire.to(fleet) as other, Wire.to(fleet) as wire:
            other.enter(fleet.application()).subscribe(device.topic("state"))
            wire.enter(device).publish(device.topic("state"), b"unaffected", qos=1)
            assert [message.payload for message in other.hear()] == [b"unaffected"]
        for wire in (*wires[1:], taking_over):
            wire.settle()
        taking_over.disconnect()
        # A connection counts until its socket is closed.
        assert eventually(lambda: _code(fleet, _client(key, 200)) == 0)


def test_max_sessions_per_application(fleet: Fleet) -> None:
    """A client without a session gets CONNACK 3; one that has its session comes back, and one that ends makes room."""
    bound, key = "max_sessions_per_application", fleet.application()
    _leave_sessions(fleet, key, *range(SESSIONS))
    before = bound_count(fleet, bound)
    for number in range(FLOOD):
        assert _code(fleet, _client(key, 100 + number), clean=bool(number % 2)) == BUSY
    assert bound_count(fleet, bound) == before + FLOOD
    assert _is_said(fleet, bound, key)
    with Wire.to(fleet) as wire:
        assert wire.enter(_client(key, 0), clean=False).is_session_present
        assert _code(fleet, fleet.application()) == 0
        assert _code(fleet, fleet.device()) == 0
    assert _code(fleet, _client(key, 0), clean=True) == 0
    assert eventually(lambda: _code(fleet, _client(key, 100), clean=False) == 0)
    assert _code(fleet, _client(key, 101), clean=False) == BUSY


def test_max_filters_per_application(fleet: Fleet) -> None:
    """Further filters of any session are refused with 0x80; what ends makes room; others have their own."""
    bound, key, other, device = "max_filters_per_application", fleet.application(), fleet.application(), fleet.device()
    filters = [device.topic(f"{number}") for number in range(FILTERS + FLOOD)]
    before = bound_count(fleet, bound)
    with Wire.to(fleet) as one, Wire.to(fleet) as two, Wire.to(fleet) as of_other, Wire.to(fleet) as wire:
        one.enter(_client(key, 1))
        two.enter(_client(key, 2))
        assert one.subscribe(*filters[:4]) == [0] * 4
        assert two.subscribe(*filters[:4]) == [0, 0, REFUSED, REFUSED]
        assert two.subscribe(*filters[4:]) == [REFUSED] * (len(filters) - 4)
        assert bound_count(fleet, bound) == before + len(filters) - 2
        assert _is_said(fleet, bound, key)
        assert one.subscribe(filters[0], qos=1) == [1]
        assert of_other.enter(other).subscribe(*filters[:FILTERS]) == [0] * FILTERS
        assert wire.enter(device).subscribe(*filters[: FILTERS + 1]) == [0] * (FILTERS + 1)
        one.unsubscribe(filters[1], "devices/never/there")
        assert two.subscribe(filters[2], filters[3]) == [0, REFUSED]
        one.disconnect()
        assert eventually(lambda: two.subscribe(filters[3]) == [0])
        assert two.subscribe(*filters[4:]) == [0, 0, *[REFUSED] * (len(filters) - 6)]


@only_5
def test_after_a_restart_with_lower_bounds(tmp_path: Path) -> None:
    """Stored sessions and filters count and stay, even above the bounds; no others are added."""
    with running(tmp_path) as fleet:
        key = fleet.application()
        _leave_sessions(fleet, key, 0, 1, 2)
        with Wire.to(fleet) as wire:
            wire.enter(_client(key, 0), clean=False).subscribe("devices/+/1", "devices/+/2", "devices/+/3")
    with (
        running(tmp_path, max_sessions_per_application=2, max_filters_per_application=2) as fleet,
        Wire.to(fleet) as wire,
    ):
        assert wire.enter(_client(key, 0), clean=False).is_session_present
        assert wire.subscribe("devices/+/1", "devices/+/4") == [0, REFUSED]
        assert _code(fleet, _client(key, 3)) == BUSY
        assert _code(fleet, _client(key, 2)) == 0
        assert eventually(lambda: _code(fleet, _client(key, 1)) == 0)
        # Two clean ones have ended with their connections, so one session is left.
        assert eventually(lambda: _code(fleet, _client(key, 3)) == 0)


@only_3_1_1
def test_readiness_at_max_connections(fleet: Fleet) -> None:
    """While no other client can connect, the server says that it isn't ready, and why."""

    def readiness() -> tuple[int, str]:
        answer = httpx.get(f"{fleet.server.url}/health/ready", verify=NOBODY_TRUSTED)
        return answer.status_code, answer.json().get("detail", "")

    assert eventually(lambda: readiness() == (200, ""))
    with ExitStack() as stack:
        for _ in range(ALL_CONNECTIONS):
            stack.enter_context(Wire.to(fleet)).enter(fleet.device())
        assert readiness() == (503, "Not ready: connections.")
    assert eventually(lambda: readiness() == (200, ""))
