"""Several users of one SQLite file at once, whole transactions, and bounded memory."""

from __future__ import annotations

import sqlite3
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import (
    ApplicationScope,
    AuditEntry,
    DeviceState,
    Reregistration,
    SqliteStore,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from tests.unit.registry.store_rig import FakeClock, JournalReader, issue, keys_of, new_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.registry.conftest import Child

MAX_BATCH_MEGABYTES = 8


@contextmanager
def _locked(path: Path, how: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Hold the file's write lock, as another process in a long transaction does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {how}")
        yield connection
        connection.rollback()


def test_two_processes_write(store: SqliteStore, make_child: Callable[[], Child]) -> None:
    """Two processes and this one register the same serials at the same time: one device each, no key lost."""
    children = [make_child(), make_child()]
    for child in children:
        for serial in ("S1", "S2"):
            child.ask("issue", store.path, f"{serial} 60")
    adding = {"reregistration": Reregistration.ADD, "max_keys": 1_000}
    mine = {issue(store, serial, **adding)[1] for _ in range(60) for serial in ("S1", "S2")}
    theirs = {child.answer() for child in children for _ in range(2)}
    assert mine == theirs
    assert (store.count_devices(), store.count_keys()) == (2, 360)
    positions = [change.seq for change in store.changes_after(0)]
    assert positions == list(range(1, 363))


def test_processes_make_one_file(tmp_path: Path, make_child: Callable[[], Child]) -> None:
    """Processes that open, use and close the same new file at once all succeed, every time."""
    children = [make_child() for _ in range(3)]
    answers: list[str] = []
    for number in range(20):
        for child in children:
            child.ask("serial", tmp_path / f"{number}.db", "A1")
        answers += [child.answer() for child in children]
    assert [answer for answer in answers if answer != "ok"] == []


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_open_while_another_makes_it(how: str, tmp_path: Path) -> None:
    """Opening a new file waits for another process that is making it at the same time."""
    path = tmp_path / "fleetkey.db"
    with ThreadPoolExecutor(1) as pool:
        with _locked(path, how):
            opening = pool.submit(SqliteStore, path, busy_timeout_seconds=5)
            time.sleep(0.2)
            assert not opening.done()
        opening.result(timeout=5).close()


@pytest.mark.parametrize("change", ["issue", "record", "serials", "open"])
def test_locked_for_too_long(change: str, tmp_path: Path) -> None:
    """When another writer doesn't let go, a change ends in `StoreBusyError` after the timeout; reading goes on."""
    path = tmp_path / "fleetkey.db"
    calls: dict[str, Callable[[SqliteStore], object]] = {
        "issue": lambda store: store.issue_device_key(new_request("S2")),
        "record": lambda store: store.record(AuditEntry(actor="a", action="b", outcome="c")),
        "serials": lambda store: store.add_serials(["A1"], actor="cli"),
        "open": lambda _: SqliteStore(path, busy_timeout_seconds=0.2),
    }
    with closing(SqliteStore(path, busy_timeout_seconds=0.2)) as store:
        issue(store)
        journal = JournalReader(store)
        with _locked(path):
            began = time.monotonic()
            with pytest.raises(StoreBusyError, match="try again"):
                calls[change](store)
            assert 0.15 < time.monotonic() - began < 2
            assert store.count_devices() == 1
        assert journal.read() == ([], [])
        if change != "open":
            calls[change](store)


def test_locked_for_a_moment(store: SqliteStore) -> None:
    """A change waits for another writer that lets go in time."""
    with ThreadPoolExecutor(1) as pool:
        with _locked(store.path):
            waiting = pool.submit(issue, store)
            time.sleep(0.2)
            assert not waiting.done()
        assert waiting.result(timeout=5)


def test_locked_many_wait(tmp_path: Path) -> None:
    """Threads that queue behind one that waits get their answer too, all in about the same time."""
    path = tmp_path / "fleetkey.db"
    with closing(SqliteStore(path, busy_timeout_seconds=0.3)) as store, _locked(path), ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        errors = [future.exception() for future in [pool.submit(issue, store) for _ in range(8)]]
        assert {type(error) for error in errors} == {StoreBusyError}
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("journal", ["audit", "changes"])
@pytest.mark.parametrize(
    "change", ["issue", "connect", "state", "tag", "delete", "revoke", "expire", "retire", "application"]
)
def test_change_and_journals_are_one(change: str, journal: str, tmp_path: Path) -> None:
    """When the row in the feed or in the audit can't be written, the change isn't made either."""
    clock = FakeClock()
    with closing(SqliteStore(tmp_path / "fleetkey.db", clock=clock)) as store:
        key, device_id = issue(store)
        _application_key(store, "a" * 32)
        store.expire_device_keys(device_id, grace_seconds=0 if change == "retire" else 60, actor="cli")
        calls: dict[str, Callable[[], object]] = {
            "issue": lambda: issue(store),
            "connect": lambda: store.record_first_connection(key),
            "state": lambda: store.set_device_state(device_id, DeviceState.DISABLED, actor="cli"),
            "tag": lambda: store.tag_device(device_id, {"a": "b"}, actor="cli"),
            "delete": lambda: store.delete_device(device_id, actor="cli"),
            "revoke": lambda: store.revoke_key(key, actor="cli"),
            "expire": lambda: store.expire_device_keys(device_id, grace_seconds=5, actor="cli"),
            "retire": store.retire_expired_keys,
            "application": lambda: _application_key(store, "b" * 32),
        }
        before = (store.get_device(device_id), keys_of(store, device_id), store.count_keys())
        reader = JournalReader(store)
        with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
            connection.execute(
                f"CREATE TRIGGER full BEFORE INSERT ON {journal} BEGIN SELECT raise(ABORT, 'disk is full'); END"
            )
        with pytest.raises((StoreError, sqlite3.IntegrityError)):
            calls[change]()
        assert (store.get_device(device_id), keys_of(store, device_id), store.count_keys()) == before
        assert reader.read() == ([], [])


def _application_key(store: SqliteStore, key: str) -> None:
    store.create_application_key(
        key=key, secret_hash="-", name="back end", scope=ApplicationScope(all_devices=True), actor="cli"
    )


def test_disk_full(store: SqliteStore) -> None:
    """A full disk is `StoreUnavailableError`, loses nothing, and is over when there is room again."""
    key, _ = issue(store)
    writer = store._writer.conn
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages + 2}")
    fleet = (issue(store, f"F{number}") for number in range(1_000))
    with pytest.raises(StoreUnavailableError, match="full"):
        list(fleet)
    devices = store.count_devices()
    assert store.get_key(key).key == key
    assert store.count_keys() == devices
    writer.execute("PRAGMA max_page_count=1000000")
    issue(store, "after")
    assert store.count_devices() == devices + 1


def test_add_serials_memory(store: SqliteStore) -> None:
    """200,000 serials from a generator are added, and read back, in a few megabytes."""
    tracemalloc.start()
    try:
        store.add_serials((f"SERIAL-{number:012}" for number in range(200_000)), actor="cli")
        assert sum(1 for _ in store.iter_serials()) == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BATCH_MEGABYTES * 1024 * 1024


def test_add_serials_leaves_the_registry_free(store: SqliteStore) -> None:
    """While a long list is still being read, others register."""
    reading, registered = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        yield from (f"S{number}" for number in range(20_000))
        reading.set()
        assert registered.wait(timeout=10)
        yield "last"

    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(store.add_serials, slow(), actor="cli")
        assert reading.wait(timeout=10)
        issue(store, "other")
        assert store.count_serials() == 0
        registered.set()
        assert adding.result(timeout=10).added == 20_001
