"""Which sessions are over, without a look at those that aren't."""

from __future__ import annotations

from fleetkey.broker.away import AwaySessions
from fleetkey.broker.session import Session
from tests.unit.broker.rig import session_of


def _session(client_id: str, expires_at: float) -> Session:
    session = session_of(client_id, client_id)
    session.expires_at = expires_at
    return session


def test_over_in_order_and_bounded() -> None:
    """The longest away come first, so many at once; they stay until they are taken out."""
    away = AwaySessions()
    sessions = [_session(f"s{number}", float(number)) for number in range(10)]
    for session in sessions:
        away.add(session)
    assert away.over(-1, most=5) == []
    assert away.over(3, most=10) == sessions[:4]
    assert away.over(100, most=3) == away.over(100, most=3) == sessions[:3]
    for session in sessions[:3]:
        away.discard(session)
    assert away.over(100, most=3) == sessions[3:6]
    assert len(away) == 7


def test_back_and_away_again() -> None:
    """One that was back meanwhile is behind those that left before it did; letting one go twice changes nothing."""
    away = AwaySessions()
    first, second = _session("first", 1.0), _session("second", 2.0)
    for session in (first, second):
        away.add(session)
    away.discard(first)
    away.discard(first)
    first.expires_at = 3.0
    away.add(first)
    assert away.over(2.5, most=10) == [second]
    assert away.over(3.0, most=10) == [second, first]
    second.expires_at = 4.0
    away.add(second)
    assert away.over(5.0, most=10) == [first, second]
