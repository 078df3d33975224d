"""What is noted of a connection, with a clock that a test sets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker import PresenceRecorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry import Presence

DEVICE_ID = "0" * 24
KEY = "0" * 32
NOW_SECONDS = 1_700_000_000.0


class Connection:
    """What is noted of a connection."""

    def __init__(self, address: str = "127.0.0.9") -> None:
        self.address = address
        self.last_heard = 0.0


class Recorded:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.entries: dict[str, Presence] = {}

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Keep the newest of each device."""
        self.entries.update(entries)

    def end_presence(self, *, reason: str) -> int:
        """Nobody was connected."""
        del reason
        return 0


@pytest.mark.parametrize(
    ("connected_for", "silent_for", "seen_after"),
    [
        pytest.param(10.0, 4.0, 6.0, id="heard_of_in_between"),
        pytest.param(10.0, 0.0, 10.0, id="heard_of_at_the_end"),
        pytest.param(0.1, 0.9, 0.0, id="connect_came_before"),
        pytest.param(0.1, -0.2, 0.1, id="heard_ahead_of_the_clock"),
        pytest.param(-5.0, 0.0, 0.0, id="clock_set_back"),
    ],
)
def test_disconnected_order(
    monkeypatch: pytest.MonkeyPatch, connected_for: float, silent_for: float, seen_after: float
) -> None:
    """A device was heard of while it was connected, never before or after, and its end is not before its begin."""

    async def run() -> Presence:
        recorded = Recorded()
        recorder = PresenceRecorder(recorded, flush_seconds=60, seen_seconds=60, loop_time=lambda: silent_for)
        await recorder.start()
        connection = Connection()
        monkeypatch.setattr("fleetkey.broker.presence.time.time", lambda: NOW_SECONDS)
        recorder.connected(DEVICE_ID, connection)
        monkeypatch.setattr("fleetkey.broker.presence.time.time", lambda: NOW_SECONDS + connected_for)
        recorder.disconnected(DEVICE_ID, connection, "disconnect")
        await recorder.close()
        return recorded.entries[DEVICE_ID]

    said = asyncio.run(run())
    assert said.connected_at == NOW_SECONDS * 1000
    assert said.disconnected_at == (NOW_SECONDS + max(connected_for, 0.0)) * 1000
    assert said.last_seen_at == pytest.approx((NOW_SECONDS + seen_after) * 1000, abs=1)
    assert said.last_seen_at is not None
    assert said.connected_at <= said.last_seen_at <= said.disconnected_at


@pytest.mark.parametrize("has_ended", [False, True], ids=["one", "both"])
def test_disconnected_of_two(*, has_ended: bool) -> None:
    """An application key stays online until its last connection ends, whichever that is."""

    async def run() -> bool:
        recorded = Recorded()
        recorder = PresenceRecorder(recorded, flush_seconds=60, seen_seconds=60, loop_time=lambda: 0.0)
        await recorder.start()
        first, second = Connection(), Connection("127.0.0.10")
        recorder.connected(KEY, first)
        recorder.connected(KEY, second)
        recorder.disconnected(KEY, second, "disconnect")
        recorder.disconnected(KEY, second, "disconnect")
        if has_ended:
            recorder.disconnected(KEY, first, "disconnect")
        await recorder.close()
        return recorded.entries[KEY].is_online

    assert asyncio.run(run()) is not has_ended
