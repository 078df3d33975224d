"""Commits in groups, over a real file: who is told what, when, and how many at once."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.broker.store import group_commit
from fleetkey.broker.store.group_commit import MAX_TOLD_PER_TURN, GroupCommit
from fleetkey.broker.store.pending_notes import Effect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MANY = 5 * MAX_TOLD_PER_TURN


@pytest.fixture
async def commits(tmp_path: Path) -> AsyncIterator[GroupCommit]:
    """Open a file with one table."""
    connection = sqlite3.connect(tmp_path / "notes.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE notes (text TEXT NOT NULL)")
    group = GroupCommit(connection, {})
    yield group
    await group.close()


def _rows(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "notes.db")
    try:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]
    finally:
        connection.close()


async def _committed(group: GroupCommit) -> bool:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    group.after_commit(done.set_result)
    return await done


async def test_note(commits: GroupCommit, tmp_path: Path) -> None:
    """Whoever waits is told when everything noted before is in the file."""
    before = commits.position
    assert commits.since(before) == 0
    commits.note("INSERT INTO notes VALUES (?)", "one")
    commits.note("INSERT INTO notes VALUES (?)", "two")
    assert commits.since(before) == commits.position == before + 2
    assert commits.committed == before
    assert await _committed(commits)
    assert _rows(tmp_path) == ["one", "two"]
    assert commits.committed == commits.position


async def test_many_waiters(commits: GroupCommit) -> None:
    """However many wait for a commit, a bounded number is told in a turn of the loop, in order."""
    told: list[int] = []
    steps: list[int] = []
    for number in range(MANY):
        commits.note("INSERT INTO notes VALUES ('x')")
        commits.after_commit(lambda _, number=number: told.append(number))  # type: ignore[misc]
    async with asyncio.timeout(10):
        while len(told) < MANY:
            before = len(told)
            await asyncio.sleep(0)
            steps.append(len(told) - before)
    assert max(steps) <= 2 * MAX_TOLD_PER_TURN
    assert told == list(range(MANY))


async def test_failing(commits: GroupCommit, tmp_path: Path) -> None:
    """What can't be committed is said to have failed, is tried again, and is there when it works again."""
    other = sqlite3.connect(tmp_path / "notes.db", isolation_level=None)
    other.execute("ALTER TABLE notes RENAME TO elsewhere")
    commits.note("INSERT INTO notes VALUES ('late')")
    assert not await _committed(commits)
    assert commits.is_failing
    assert commits.committed < commits.position
    other.execute("ALTER TABLE elsewhere RENAME TO notes")
    other.close()
    async with asyncio.timeout(10):
        while not await _committed(commits):
            pass
    assert not commits.is_failing
    assert _rows(tmp_path) == ["late"]


async def test_full(commits: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit begins at once when it has as much to write as one may, not only when its time has come."""
    monkeypatch.setattr(group_commit, "COMMIT_SECONDS", 20.0)
    for notes, size in ((group_commit.MAX_PENDING_NOTES + 1, 0), (1, group_commit.MAX_PENDING_BYTES)):
        for _ in range(notes):
            assert not commits.is_behind
            commits.note("INSERT INTO notes VALUES ('x')", size=size)
        assert commits.is_behind
        async with asyncio.timeout(10):
            assert await _committed(commits)
        assert not commits.is_behind
    assert len(_rows(tmp_path)) == group_commit.MAX_PENDING_NOTES + 2
    # The fixture's last commit is not full.
    monkeypatch.undo()


async def test_full_during_commit(commits: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that gets full while another one is under way begins when that has ended."""
    monkeypatch.setattr(group_commit, "COMMIT_SECONDS", 20.0)
    commits._connection.execute("PRAGMA busy_timeout = 10000")
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        commits.note("INSERT INTO notes VALUES ('first')", size=group_commit.MAX_PENDING_BYTES)
        await asyncio.sleep(0)
        assert commits._is_committing
        commits.note("INSERT INTO notes VALUES ('second')", size=group_commit.MAX_PENDING_BYTES)
        other.execute("ROLLBACK")
    async with asyncio.timeout(10):
        assert await _committed(commits)
    assert _rows(tmp_path) == ["first", "second"]
    monkeypatch.undo()


async def test_nothing_to_write(commits: GroupCommit, tmp_path: Path) -> None:
    """What has no effect together needs no commit, even while another process writes; whoever waits is told."""
    commits._connection.execute("PRAGMA busy_timeout = 10000")
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        commits.note("INSERT INTO notes VALUES ('x')", key="x", effect=Effect.ADDS)
        commits.note("DELETE FROM notes", key="x", effect=Effect.REMOVES)
        async with asyncio.timeout(5):
            assert await _committed(commits)
        assert commits.committed == commits.position == 2
        other.execute("ROLLBACK")


@contextmanager
def _failing(group: GroupCommit, folder: Path) -> Iterator[None]:
    """Let nothing be committed: somebody else writes."""
    group._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(folder / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def _recovered(group: GroupCommit) -> None:
    async with asyncio.timeout(10):
        while not await _committed(group):
            pass


async def test_failing_order(commits: GroupCommit, tmp_path: Path) -> None:
    """What failed is tried again before what came meanwhile; it is said once, and nothing counts as committed."""
    with capture_logs() as lines:
        with _failing(commits, tmp_path):
            for number in range(3):
                commits.note("INSERT INTO notes VALUES (?)", str(number))
                assert not await _committed(commits)
                assert commits.committed == 0
        await _recovered(commits)
    assert _rows(tmp_path) == ["0", "1", "2"]
    assert commits.committed == commits.position == 3
    assert [line["event"] for line in lines] == ["broker_store_failed", "broker_store_recovered"]


async def test_failing_bounds(commits: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it fails, what waits for the next try is bounded in bytes; the newest stay."""
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 3 * _size(10))
    with capture_logs() as lines:
        with _failing(commits, tmp_path):
            for number in range(6):
                commits.note("INSERT INTO notes VALUES (?)", f"{number:010}", size=10)
                await _committed(commits)
                assert commits.waiting_bytes <= 3 * _size(10)
        await _recovered(commits)
    assert [int(text) for text in _rows(tmp_path)] == [3, 4, 5]
    assert (commits.committed, commits.lost, commits.waiting_bytes) == (6, 3, 0)
    assert [line["event"] for line in lines].count("broker_store_overflowed") == 1


def _size(payload: int) -> int:
    """Return what a note with one parameter of so many bytes counts."""
    return group_commit.NOTE_BYTES + group_commit.VALUE_BYTES + payload


async def test_failing_idle(commits: GroupCommit, tmp_path: Path) -> None:
    """If nothing waits any more while it fails, it finds out by itself that it works again."""
    with _failing(commits, tmp_path):
        commits.note("INSERT INTO notes VALUES ('x')", key="x", effect=Effect.ADDS)
        assert not await _committed(commits)
        commits.note("DELETE FROM notes", key="x", effect=Effect.REMOVES)
        assert commits.waiting_bytes == 0
        assert not await _committed(commits)
        assert commits.is_failing
    await asyncio.sleep(2 * group_commit.RETRY_SECONDS)
    assert not commits.is_failing
    assert _rows(tmp_path) == []


async def test_waiting_bytes(commits: GroupCommit, tmp_path: Path) -> None:
    """What is being committed counts, until it is."""
    commits._connection.execute("PRAGMA busy_timeout = 10000")
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        commits.note("INSERT INTO notes VALUES (?)", "x", size=1_000)
        await asyncio.sleep(2 * group_commit.COMMIT_SECONDS)
        assert commits._is_committing
        commits.note("INSERT INTO notes VALUES (?)", "y", size=500)
        assert commits.waiting_bytes == _size(1_000) + _size(500)
        other.execute("ROLLBACK")
    assert await _committed(commits)
    assert commits.waiting_bytes == 0


async def test_own_bytes(commits: GroupCommit, tmp_path: Path) -> None:
    """What something else keeps as well doesn't count as the store's own, until only the commit still has it."""
    commits._connection.execute("PRAGMA busy_timeout = 10000")
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        commits.note("INSERT INTO notes VALUES (?)", "x", size=1_000, key="x", effect=Effect.ADDS, shared=1_000)
        await asyncio.sleep(2 * group_commit.COMMIT_SECONDS)
        commits.note("INSERT INTO notes VALUES (?)", "y", size=500, key="y", effect=Effect.ADDS, shared=500)
        assert commits.own_bytes == _size(0) + _size(0)
        commits.note("DELETE FROM notes WHERE text = 'y'", key="y", effect=Effect.REMOVES)
        assert commits.own_bytes == _size(0)
        commits.note("DELETE FROM notes WHERE text = ?", "x", key="x", effect=Effect.REMOVES)
        commits.note("DELETE FROM notes WHERE text = ?", "x", key="x", effect=Effect.REMOVES)
        assert commits.own_bytes == _size(1_000) + _size(0)
        other.execute("ROLLBACK")
    assert await _committed(commits)
    assert commits.own_bytes == commits.waiting_bytes == 0


async def test_own_bytes_after_failures(commits: GroupCommit, tmp_path: Path) -> None:
    """The same for notes that are tried again."""
    with _failing(commits, tmp_path):
        commits.note("INSERT INTO notes VALUES (?)", "x", size=1_000, key="x", effect=Effect.ADDS, shared=1_000)
        assert not await _committed(commits)
        assert commits.own_bytes == _size(0)
        commits.note("DELETE FROM notes", key="x", effect=Effect.REMOVES)
        assert commits.own_bytes == 0


@pytest.mark.parametrize("bound", ["MAX_WAITING_BYTES", "MAX_WAITERS"])
async def test_is_behind(commits: GroupCommit, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Half of the bytes that may wait, or too many waiters, until they are committed."""
    monkeypatch.setattr(group_commit, bound, 2 if bound == "MAX_WAITERS" else 4 * _size(0))
    for is_behind in (False, False, True):
        if bound == "MAX_WAITERS":
            commits.after_commit(lambda _: None)
        else:
            commits.note("INSERT INTO notes VALUES (?)", "x")
        assert commits.is_behind is is_behind
    await _committed(commits)
    assert not commits.is_behind


async def test_close(tmp_path: Path) -> None:
    """What is noted is committed first."""
    connection = sqlite3.connect(tmp_path / "notes.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE notes (text TEXT NOT NULL)")
    group = GroupCommit(connection, {})
    group.note("INSERT INTO notes VALUES ('last')")
    await group.close()
    assert _rows(tmp_path) == ["last"]


async def test_waiter_that_fails(commits: GroupCommit) -> None:
    """One that fails by mistake keeps nobody else waiting, now or later."""
    told: list[int] = []
    failed: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(type(context["exception"]).__name__))

    def fail(_: bool) -> None:  # noqa: FBT001 - as the store calls back
        raise ZeroDivisionError

    for number in range(2 * MAX_TOLD_PER_TURN):
        commits.after_commit(fail if number in {0, MAX_TOLD_PER_TURN + 1} else lambda _, n=number: told.append(n))  # type: ignore[misc]
    assert await _committed(commits)
    assert await _committed(commits)
    assert len(told) == 2 * MAX_TOLD_PER_TURN - 2
    assert failed == ["ZeroDivisionError"] * 2
