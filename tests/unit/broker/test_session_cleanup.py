"""Sessions whose deletion was lost while the store failed: deleted once it works again, and nothing else is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.broker import ending_sessions, session_cleanup
from fleetkey.broker.codec import Reason
from fleetkey.broker.store import group_commit
from tests.unit.broker.rig import Parts, principal

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEPT = [f"kept-{number:02}" for number in range(20)]
ENDED = [f"ended-{number:02}" for number in range(20)]


def _stored(folder: Path) -> dict[str, list[str]]:
    """Return whose sessions, subscriptions and messages are in the file."""
    owned = "SELECT client_id FROM {} JOIN sessions ON sessions.row = session ORDER BY client_id"
    with closing(sqlite3.connect(folder / "broker.db")) as connection:
        return {
            "sessions": [name for (name,) in connection.execute("SELECT client_id FROM sessions ORDER BY client_id")],
            "subscriptions": [name for (name,) in connection.execute(owned.format("subscriptions"))],
            "deliveries": [name for (name,) in connection.execute(owned.format("deliveries"))],
            "all": [str(count) for (count,) in connection.execute("SELECT count(*) FROM deliveries")],
        }


def _leave(parts: Parts, client_id: str) -> None:
    """Store a session whose client is away, with a message for it."""
    sink, _ = parts.join(client_id, f"for/{client_id}", qos=1)
    sink.close(Reason.CLIENT_DISCONNECTED)
    parts.publish(f"for/{client_id}", b"x", 1)


def _end(parts: Parts, client_id: str) -> None:
    """End a client's session."""
    session = parts.sessions.get(client_id)
    assert session is not None
    parts.sessions.drop(session)


async def _lose(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store sessions, and end some of them while the store fails and loses almost all notes of it."""
    monkeypatch.setattr(ending_sessions, "MAX_FORGOTTEN", 5)
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 8 * group_commit.NOTE_BYTES)
    for number in range(20):
        _leave(parts, ENDED[number])
        _leave(parts, KEPT[number])
    await parts.settle()
    with parts.failing():
        for client_id in ENDED:
            _end(parts, client_id)
        assert not await parts.commit()
        parts.sessions.expire(0)
        assert not parts.sessions._cleanup._is_running
    await parts.settle()
    parts.loop.settle()


async def _clean(parts: Parts) -> None:
    """Do what is due until nothing is."""
    parts.sessions.expire(0)
    parts.loop.settle()
    while parts.sessions._cleanup._is_running:
        await parts.commit()


async def test_lost_deletions(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the sessions in memory are left, with all that belongs to them; nobody has to wait any more."""
    monkeypatch.setattr(session_cleanup, "MAX_ROWS_PER_COMMIT", 7)
    await _lose(parts, monkeypatch)
    assert len(_stored(tmp_path)["sessions"]) > len(KEPT)
    assert parts.sessions._ending.is_lost("new")
    await _clean(parts)
    assert _stored(tmp_path) == dict.fromkeys(("sessions", "subscriptions", "deliveries"), KEPT) | {"all": ["20"]}
    assert not parts.sessions._ending.has_lost
    before = parts.store.position
    _, opened = parts.open(principal("new"))
    assert opened.position == 0
    # A session of its own, and no deletion.
    assert parts.store.position == before + 1
    parts.sessions.expire(0)
    parts.loop.settle()
    assert parts.store.position == before + 1


async def test_commits_are_short(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit compares a few of the sessions."""
    monkeypatch.setattr(session_cleanup, "MAX_ROWS_PER_COMMIT", 7)
    await _lose(parts, monkeypatch)
    parts.sessions.expire(0)
    parts.loop.settle()
    counts = []
    while parts.sessions._cleanup._is_running:
        counts.append(len(_stored(tmp_path)["sessions"]))
        await parts.commit()
    assert len(counts) == 3
    assert counts == sorted(counts, reverse=True)


async def test_what_happens_meanwhile(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that begin, end, or come back meanwhile are what they are in memory."""
    monkeypatch.setattr(session_cleanup, "MAX_ROWS_PER_COMMIT", 7)
    await _lose(parts, monkeypatch)
    parts.sessions.expire(0)
    _leave(parts, "new-0")
    _leave(parts, ENDED[3])
    parts.loop.settle()
    await parts.commit()
    _leave(parts, "new-1")
    _end(parts, KEPT[15])
    _leave(parts, ENDED[17])
    await _clean(parts)
    await parts.settle()
    left = sorted([*KEPT[:15], *KEPT[16:], "new-0", "new-1", ENDED[3], ENDED[17]])
    assert _stored(tmp_path)["sessions"] == _stored(tmp_path)["deliveries"] == left
    assert not parts.sessions._ending.has_lost


async def test_failing_again(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If notes are lost again before it is done, it starts again; no session in memory is deleted."""
    monkeypatch.setattr(session_cleanup, "MAX_ROWS_PER_COMMIT", 7)
    await _lose(parts, monkeypatch)
    parts.sessions.expire(0)
    with parts.failing():
        parts.loop.settle()
        _end(parts, KEPT[19])
        _end(parts, KEPT[18])
        for number in range(5):
            _leave(parts, f"new-{number}")
        assert not await parts.commit()
        assert not parts.sessions._cleanup._is_running
        parts.sessions.expire(0)
        assert not parts.sessions._cleanup._is_running
    await parts.settle()
    assert parts.sessions._ending.has_lost
    await _clean(parts)
    assert not parts.sessions._ending.has_lost
    assert [name for name in _stored(tmp_path)["sessions"] if not name.startswith("new")] == KEPT[:18]


async def test_uncommitted(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It isn't done before it is committed."""
    await _lose(parts, monkeypatch)
    parts.sessions.expire(0)
    with parts.failing():
        parts.loop.settle()
        assert not await parts.commit()
    assert not parts.sessions._cleanup._is_running
    assert parts.sessions._ending.has_lost
    await parts.settle()
    await _clean(parts)
    assert not parts.sessions._ending.has_lost
    assert _stored(tmp_path)["sessions"] == KEPT


async def test_many_sessions_take_turns(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions there are, a turn looks at some of them."""
    monkeypatch.setattr(session_cleanup, "ROWS_PER_UNIT", 1)
    monkeypatch.setattr("fleetkey.broker.work.WORK_PER_TURN", 8)
    await _lose(parts, monkeypatch)
    before = parts.store.position
    parts.sessions.expire(0)
    parts.loop.turn()
    parts.loop.turn()
    assert parts.store.position == before
    await _clean(parts)
    assert not parts.sessions._ending.has_lost
