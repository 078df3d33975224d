"""Who reached which bound: everyone is counted, and the log isn't flooded."""

from __future__ import annotations

from structlog.testing import capture_logs

from fleetkey.broker.bounds import MAX_LOGGED_BOUNDS, QUIET_SECONDS, BoundLog
from fleetkey.broker.counters import Counters


def test_strangers_from_everywhere() -> None:
    """However many addresses there are, one is logged in a while; each is counted."""
    now, counters = 0.0, Counters()
    bounds = BoundLog(counters, now=lambda: now)
    with capture_logs() as lines:
        for number in range(20_000):
            bounds.reached_by_stranger("max_connect_bytes", f"192.0.2.{number}")
        bounds.reached_by_stranger("max_connections", "192.0.2.1")
        assert [line["bound"] for line in lines] == ["max_connect_bytes", "max_connections"]
        now = QUIET_SECONDS
        bounds.reached_by_stranger("max_connect_bytes", "192.0.2.2")
    assert [line["address"] for line in lines] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    assert counters.bounds["max_connect_bytes"] == 20_001


def test_known_clients() -> None:
    """A client that is in is logged once at each bound, whoever else is there."""
    counters = Counters()
    bounds = BoundLog(counters)
    with capture_logs() as lines:
        for _ in range(3):
            for client in ("a", "b"):
                bounds.reached("max_retained", owner=client)
    assert [line["owner"] for line in lines] == ["a", "b"]
    assert counters.bounds["max_retained"] == 6


def test_known_clients_without_end() -> None:
    """However many clients there are, a bounded number is remembered, and whoever comes again is logged again."""
    counters = Counters()
    bounds = BoundLog(counters)
    with capture_logs() as lines:
        for number in range(2 * MAX_LOGGED_BOUNDS + 1):
            bounds.reached("max_queued", client_id=f"c{number}")
            assert len(bounds._logged) <= MAX_LOGGED_BOUNDS
        bounds.reached("max_queued", client_id="c0")
    assert len(lines) == 2 * MAX_LOGGED_BOUNDS + 2
    assert counters.bounds["max_queued"] == 2 * MAX_LOGGED_BOUNDS + 2
