"""The change feed over SQLite: this process's commits and another's, and what happens when it breaks."""

from __future__ import annotations

import queue
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import Change, ChangeFollower, ChangeKind, DeviceState, SqliteStore
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.integration.registry.conftest import Child

SECONDS = 1.0
"""How long a change may take from its commit to whoever follows."""


class Heard:
    """Keeps what a follower hands over."""

    def __init__(self) -> None:
        self._changes: queue.Queue[Change] = queue.Queue()

    def __call__(self, changes: Sequence[Change]) -> None:
        """Take changes in."""
        for change in changes:
            self._changes.put(change)

    def take(self, count: int, seconds: float = SECONDS) -> list[Change]:
        """Return the next `count` changes, or fail when they take longer than that."""
        deadline = time.monotonic() + seconds
        return [self._changes.get(timeout=max(0.001, deadline - time.monotonic())) for _ in range(count)]

    def is_quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        try:
            self._changes.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@contextmanager
def _following(store: SqliteStore) -> Iterator[Heard]:
    heard = Heard()
    follower = ChangeFollower(store, heard)
    follower.start()
    try:
        yield heard
    finally:
        follower.stop()


def _kinds(changes: list[Change]) -> list[ChangeKind]:
    return [change.kind for change in changes]


def _sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_follower_own_commit(store: SqliteStore) -> None:
    """A change of this process arrives within a second, whole; what was before the follower doesn't."""
    issue(store)
    with _following(store) as heard:
        key, device_id = issue(store, "S2")
        created, issued = heard.take(2)
        assert (created.kind, created.device_id) == (ChangeKind.DEVICE_CREATED, device_id)
        assert (issued.kind, issued.key) == (ChangeKind.KEY_ISSUED, key)
        assert heard.is_quiet()


def test_follower_made_before_the_commit(store: SqliteStore) -> None:
    """What was committed between making and starting a follower isn't lost."""
    heard = Heard()
    follower = ChangeFollower(store, heard)
    issue(store)
    follower.start()
    assert len(heard.take(2)) == 2
    follower.stop()


def test_follower_commit_of_another_process(store: SqliteStore, make_child: Callable[[], Child]) -> None:
    """A change that another process committed arrives within a second of its commit."""
    _, device_id = issue(store)
    child = make_child()
    with _following(store) as heard:
        for _ in range(3):
            committed = float(child.do("disable", store.path, device_id))
            change = heard.take(1)[0]
            assert (change.kind, change.device_id) == (ChangeKind.DEVICE_DISABLED, device_id)
            assert time.time() - committed < SECONDS
            store.set_device_state(device_id, DeviceState.ACTIVE, actor="cli")
            assert _kinds(heard.take(1)) == [ChangeKind.DEVICE_ENABLED]


def test_follower_order(store: SqliteStore, make_child: Callable[[], Child]) -> None:
    """Changes of two processes that write at once arrive in the order of their commits, each once."""
    child = make_child()
    with _following(store) as heard:
        child.ask("issue", store.path, "S1 40")
        for number in range(40):
            issue(store, f"M{number}")
        child.answer()
        expected = store.changes_after(0)
        assert len(expected) == 121
        assert heard.take(121) == expected
        assert heard.is_quiet()


def test_follower_more_than_a_batch(store: SqliteStore) -> None:
    """Thousands of changes that piled up arrive in order."""
    heard = Heard()
    follower = ChangeFollower(store, heard)
    _, device_id = issue(store)
    for number in range(2_100):
        store.tag_device(device_id, {"n": str(number)}, actor="cli")
    follower.start()
    positions = [change.seq for change in heard.take(2_102, seconds=5)]
    follower.stop()
    assert positions == list(range(1, 2_103))


def test_follower_changes_were_dropped(tmp_path: Path) -> None:
    """When changes were dropped before they were read: one RESET, and then what comes after it."""
    with closing(SqliteStore(tmp_path / "fleetkey.db", max_change_rows=1)) as store:
        heard = Heard()
        follower = ChangeFollower(store, heard)
        _, device_id = issue(store)
        for number in range(1_100):
            store.tag_device(device_id, {"n": str(number)}, actor="cli")
        follower.start()
        reset = heard.take(1)[0]
        assert (reset.kind, reset.seq) == (ChangeKind.RESET, store.change_bounds()[1])
        store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
        assert _kinds(heard.take(1)) == [ChangeKind.DEVICE_DISABLED]
        follower.stop()


@pytest.mark.parametrize("how", ["closed", "feed_gone"])
def test_follower_store_unreadable(how: str, store: SqliteStore, make_child: Callable[[], Child]) -> None:
    """When the feed can't be read, whoever follows is told that nothing is sure any more, within a second."""
    _, device_id = issue(store)
    child = make_child()
    with _following(store) as heard:
        if how == "closed":
            store.close()
            child.do("disable", store.path, device_id)
        else:
            _sql(store.path, "ALTER TABLE changes RENAME TO gone")
        assert ChangeKind.RESET in _kinds(heard.take(1))


def test_follower_readable_again(store: SqliteStore) -> None:
    """Once the feed can be read again, following goes on where it was."""
    _, device_id = issue(store)
    with _following(store) as heard:
        _sql(store.path, "ALTER TABLE changes RENAME TO gone")
        assert _kinds(heard.take(1)) == [ChangeKind.RESET]
        _sql(store.path, "ALTER TABLE gone RENAME TO changes")
        store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
        after = [change for change in heard.take(1, seconds=2) if change.kind is not ChangeKind.RESET]
        while not after:
            after = [change for change in heard.take(1, seconds=2) if change.kind is not ChangeKind.RESET]
        assert _kinds(after) == [ChangeKind.DEVICE_DISABLED]


def test_follower_change_of_a_later_version(store: SqliteStore) -> None:
    """A kind of change that this version doesn't know means: everything may have changed. Following goes on."""
    _, device_id = issue(store)
    with _following(store) as heard:
        _sql(store.path, "INSERT INTO changes (at, kind) VALUES (0, 'something_new')")
        assert _kinds(heard.take(1)) == [ChangeKind.RESET]
        store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
        while heard.take(1, seconds=2)[0].kind is not ChangeKind.DEVICE_DISABLED:
            pass


def test_follower_after_what_nobody_expected(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks, everything may have changed; what is committed afterwards is handed over."""
    with _following(store) as heard:
        read = store.changes_after
        monkeypatch.setattr(store, "changes_after", lambda *_, **__: 1 // 0)
        _, device_id = issue(store)
        assert _kinds(heard.take(1)) == [ChangeKind.RESET]
        monkeypatch.setattr(store, "changes_after", read)
        store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
        while heard.take(1, seconds=2)[0].kind is not ChangeKind.DEVICE_DISABLED:
            pass


@pytest.mark.parametrize("moment", ["idle", "unreadable", "not_started"])
def test_follower_stop(moment: str, store: SqliteStore) -> None:
    """Stopping is prompt at any moment, may be repeated, and nothing is handed over afterwards."""
    issue(store)
    heard = Heard()
    follower = ChangeFollower(store, heard)
    if moment != "not_started":
        follower.start()
    if moment == "unreadable":
        _sql(store.path, "ALTER TABLE changes RENAME TO gone")
        heard.take(1)
    began = time.monotonic()
    follower.stop()
    follower.stop()
    assert time.monotonic() - began < SECONDS / 2
    if moment == "unreadable":
        _sql(store.path, "ALTER TABLE gone RENAME TO changes")
    issue(store)
    assert heard.is_quiet()
