"""For which commit a client's new session waits after its older one has ended."""

from __future__ import annotations

import pytest

from fleetkey.broker import ending_sessions
from fleetkey.broker.ending_sessions import EndingSessions


class Store:
    """Has committed as much as the test says."""

    committed = 0
    lost = 0


def test_position() -> None:
    """A client waits for the newest end of its sessions, until that is committed, and for nobody else's."""
    store = Store()
    ended = EndingSessions(store)
    assert ended.position("a") == 0
    ended.add("a", 5)
    ended.add("b", 6)
    ended.add("a", 9)
    assert [ended.position(client_id) for client_id in "abc"] == [9, 6, 0]
    store.committed = 8
    assert [ended.position(client_id) for client_id in "abc"] == [9, 0, 0]
    assert len(ended) == 1
    store.committed = 9
    assert ended.position("a") == 0
    assert len(ended) == 0


def test_position_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, few are remembered; then all others wait for the oldest ones as well."""
    monkeypatch.setattr(ending_sessions, "MAX_FORGOTTEN", 2)
    store = Store()
    ended = EndingSessions(store)
    for number, client_id in enumerate("abcd", start=1):
        ended.add(client_id, number)
    assert len(ended) == 2
    assert [ended.position(client_id) for client_id in "abcde"] == [2, 2, 3, 4, 2]
    store.committed = 2
    assert [ended.position(client_id) for client_id in "abcde"] == [0, 0, 3, 4, 0]


def test_is_lost() -> None:
    """What may be lost is remembered although what came later is committed, until it is noted again."""
    store = Store()
    ended = EndingSessions(store)
    ended.add("a", 5)
    ended.add("b", 8)
    store.committed, store.lost = 9, 5
    assert [ended.position(client_id) for client_id in "abc"] == [0, 0, 0]
    assert [ended.is_lost(client_id) for client_id in "abc"] == [True, False, False]
    ended.add("a", 10)
    assert not ended.is_lost("a")
    assert ended.position("a") == 10
    store.committed = 10
    assert ended.position("a") == 0
    assert len(ended) == 0


def test_lost_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that may be lost is known as such, even if later ones beyond the bound are committed."""
    monkeypatch.setattr(ending_sessions, "MAX_FORGOTTEN", 2)
    store = Store()
    ended = EndingSessions(store)
    ended.add("early", 3)
    for number in range(5):
        ended.add(f"c{number}", 200 + number)
    store.lost, store.committed = 100, 300
    assert ended.is_lost("early")
    assert not ended.is_lost("c4")
    assert ended.has_lost


def test_many_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the others beyond the bound are committed, what is lost later doesn't concern them."""
    monkeypatch.setattr(ending_sessions, "MAX_FORGOTTEN", 2)
    store = Store()
    ended = EndingSessions(store)
    for number in range(1, 6):
        ended.add(f"c{number}", number)
    store.committed = 5
    assert ended.position("new") == 0
    store.lost = 100
    assert not ended.is_lost("new")
    assert not ended.has_lost


def test_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the lost ones are deleted after all, nobody waits; those that ended since are still known."""
    monkeypatch.setattr(ending_sessions, "MAX_FORGOTTEN", 2)
    store = Store()
    ended = EndingSessions(store)
    for number in range(1, 6):
        ended.add(f"c{number}", number)
    store.lost, store.committed = 100, 300
    assert ended.is_lost("new")
    for number in range(3):
        ended.add(f"d{number}", 310 + number)
    ended.cleaned(300)
    assert not ended.is_lost("new")
    assert [ended.position(client_id) for client_id in ("new", "d1", "d2")] == [310, 311, 312]
    store.lost = 311
    assert [ended.is_lost(client_id) for client_id in ("new", "d1", "d2")] == [True, True, False]
    ended.cleaned(312)
    assert not ended.has_lost
    assert len(ended) == 0
