"""What a running server costs: memory, descriptors, log lines, and the time it takes to answer."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.http import NOBODY_TRUSTED
from tests.support.packets import publish
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.wire import Wire

__all__ = [
    "MEBIBYTE",
    "bound_count",
    "has_closed_sockets",
    "log_lines",
    "memory_bytes",
    "open_sockets",
    "round_trip_seconds",
]

MEBIBYTE = 1024 * 1024
PAGE_BYTES = 4096
MAX_ROUND_TRIPS = 100_000


def memory_bytes(fleet: Fleet) -> int:
    """Return the server's resident memory."""
    pages = Path(f"/proc/{fleet.server.process.pid}/statm").read_text().split()[1]
    return int(pages) * PAGE_BYTES


def bound_count(fleet: Fleet, bound: str) -> int:
    """Return how often the server's clients reached a bound of the broker."""
    answer = httpx.get(f"{fleet.server.url}/metrics", verify=NOBODY_TRUSTED).text
    found = re.search(rf'^fleetkey_mqtt_bounds_reached_total{{bound="{bound}"}} ([0-9.e+]+)$', answer, re.MULTILINE)
    return int(float(found[1])) if found is not None else 0


def open_sockets(fleet: Fleet) -> int:
    """Return how many sockets the server has open; its threads open the registry's file when they first need it."""
    count = 0
    for descriptor in Path(f"/proc/{fleet.server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


def has_closed_sockets(fleet: Fleet, at_most: int, seconds: float = 5.0) -> bool:
    """Wait until the server has no more than `at_most` sockets open, and return whether it had in time."""
    return eventually(lambda: open_sockets(fleet) <= at_most, seconds)


def log_lines(fleet: Fleet, event: str, **fields: object) -> list[dict[str, Any]]:
    """Return the log's lines of an event, with these fields."""
    lines = [json.loads(line) for line in fleet.server.log.read_text().splitlines() if line.startswith("{")]
    return [
        line
        for line in lines
        if line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
    ]


def round_trip_seconds(wire: Wire, topic: str, *, count: int = 30, seconds: float = 0.0) -> float:
    """Return the median time that a message takes to its own sender, who must be subscribed to it.

    Takes `count` messages, and as many more as `seconds` allow.
    """
    times: list[float] = []
    ends = time.monotonic() + seconds
    while len(times) < count or (time.monotonic() < ends and len(times) < MAX_ROUND_TRIPS):
        payload = str(len(times)).encode()
        began = time.perf_counter()
        wire.send(publish(topic, payload))
        heard = wire.hear()
        assert [message.payload for message in heard] == [payload]
        times.append(time.perf_counter() - began)
    return median(times)
