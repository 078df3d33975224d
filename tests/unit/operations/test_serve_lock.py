"""One server at a time over a fleet's databases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fleetkey.operations import ServedElsewhereError, ServeLock, serving_pid
from fleetkey.operations.serve_lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody lets go in these tests."""
    monkeypatch.setattr("fleetkey.operations.serve_lock.TAKE_SECONDS", 0.0)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """Give a database that is served."""
    database = tmp_path / "fleetkey.db"
    lock = ServeLock([database, tmp_path / "broker.db"])
    lock.acquire()
    yield database
    lock.release()


def test_acquire_twice(held: Path) -> None:
    """The second is refused, and named the first; what it had taken before is free again."""
    other = held.with_name("a.db")
    with pytest.raises(ServedElsewhereError, match=rf"fleetkey\.db .*pid {os.getpid()}\b"):
        ServeLock([other, held]).acquire()
    assert serving_pid(other) is None
    assert serving_pid(held) == os.getpid()


def test_acquire_through_a_link(held: Path) -> None:
    """A link to a database is that database."""
    link = held.with_name("link.db")
    held.touch()
    link.symlink_to(held)
    with pytest.raises(ServedElsewhereError):
        ServeLock([link]).acquire()


def test_release(tmp_path: Path) -> None:
    """Whoever lets go leaves it to the next one."""
    for _ in range(2):
        lock = ServeLock([tmp_path / "fleetkey.db"])
        lock.acquire()
        assert serving_pid(tmp_path / "fleetkey.db") == os.getpid()
        lock.release()
    assert serving_pid(tmp_path / "fleetkey.db") is None
    assert lock_file(tmp_path / "fleetkey.db").stat().st_mode & 0o777 == 0o600


def test_acquire_no_file(tmp_path: Path) -> None:
    """A lock file that can't be made is a refusal that names it: without a lock, nobody serves."""
    lock_file(tmp_path / "fleetkey.db").mkdir()
    with pytest.raises(ServedElsewhereError, match=r"can't lock .*fleetkey\.db\.lock"):
        ServeLock([tmp_path / "fleetkey.db"]).acquire()
    assert serving_pid(tmp_path / "fleetkey.db") is None


def test_serving_pid_unreadable(held: Path) -> None:
    """A holder that hasn't written its number yet is one without a number."""
    lock_file(held).write_text("")
    with pytest.raises(ServedElsewhereError, match="another process;"):
        ServeLock([held]).acquire()
    assert serving_pid(held) is None
