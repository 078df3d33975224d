"""A storm of mutated packets leaves a broker that serves as before and hasn't grown."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.fuzzer import Fuzzer
from tests.support.fleet import running
from tests.support.measure import MEBIBYTE, has_closed_sockets, memory_bytes, open_sockets, round_trip_seconds
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


PACKETS_IN_THE_SUITE = 20_000
PACKETS = int(os.environ.get("FUZZ_PACKETS", "1000000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MAX_GROWTH_BYTES = 16 * MEBIBYTE
CONNECT_TIMEOUT_SECONDS = 2


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("server"), connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS) as fleet:
        yield fleet


def _fuzz(fleet: Fleet, count: int) -> None:
    sockets = open_sockets(fleet)
    with Fuzzer(fleet, SEED) as fuzzer:
        fuzzer.run(count // 4)
        before, began = memory_bytes(fleet), time.monotonic()
        fuzzer.run(count - count // 4)
        took = time.monotonic() - began
        fuzzer.drop_all()
        fuzzer.check()
        grown = memory_bytes(fleet) - before
        print(f"{fuzzer.sent} packets, seed {SEED}, {fuzzer.sent / took:.0f}/s, grown by {grown // 1024} KiB")
        assert fuzzer.sent >= count
        assert grown < MAX_GROWTH_BYTES
    assert has_closed_sockets(fleet, sockets, CONNECT_TIMEOUT_SECONDS + 4)
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("x"))
        assert round_trip_seconds(wire, device.topic("x")) < 0.1
    lines = [json.loads(line) for line in fleet.server.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


def test_fuzz(fleet: Fleet) -> None:
    """Twenty thousand packets: victim undisturbed, nothing leaked, no error in the log, no growth, no descriptor."""
    _fuzz(fleet, PACKETS_IN_THE_SUITE)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_fuzz_long(fleet: Fleet) -> None:
    """The same with `FUZZ_PACKETS`, a million by default."""
    _fuzz(fleet, PACKETS)
