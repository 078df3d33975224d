"""Which files SQLite's store takes, and that it leaves the others as they are."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import ForeignFileError, NewerSchemaError, SqliteStore, StoreError, StoreUnavailableError
from fleetkey.registry.sqlite import schema
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlite_utils import Database

MAX_STEPS = 300
FULL = 2
"""As SQLite numbers `synchronous=FULL`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry is or shall be, alone in its folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "fleetkey.db"


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _text(path: Path) -> None:
    path.write_text("not a database\n" * 100)


def _short_text(path: Path) -> None:
    path.write_text("x")


def _tables(path: Path) -> None:
    _run(path, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")


def _tables_in_wal_mode(path: Path) -> None:
    _run(path, "PRAGMA journal_mode=WAL", "CREATE TABLE notes (text)")


def _other_application(path: Path) -> None:
    _run(path, "PRAGMA application_id=252006673", "CREATE TABLE notes (text)")


def _other_application_without_tables(path: Path) -> None:
    _run(path, "PRAGMA application_id=252006673", "VACUUM")


def _log_left_behind(path: Path) -> None:
    """Tables that are still in the log, as after a crash of whoever owns the file."""
    live = path.with_name("live.db")
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (text)")
        shutil.copy(live, path)
        shutil.copy(f"{live}-wal", f"{path}-wal")
    live.unlink()


@pytest.mark.parametrize(
    "make",
    [
        _text,
        _short_text,
        _tables,
        _tables_in_wal_mode,
        _other_application,
        _other_application_without_tables,
        _log_left_behind,
    ],
)
def test_open_foreign_file(make: Callable[[Path], None], path: Path) -> None:
    """A file of something else is refused, named, and left byte for byte as it was, with nothing beside it."""
    make(path)
    before = _contents(path.parent)
    with pytest.raises(ForeignFileError, match="left untouched") as caught:
        SqliteStore(path)
    assert str(path) in str(caught.value)
    assert _contents(path.parent) == before


def test_open_foreign_file_in_use(path: Path) -> None:
    """A file that something else is using right now is refused, and its owner goes on undisturbed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("PRAGMA journal_mode=WAL")
        owner.execute("CREATE TABLE notes (text)")
        with pytest.raises(ForeignFileError):
            SqliteStore(path)
        owner.execute("INSERT INTO notes VALUES ('still mine')")
        assert owner.execute("SELECT count(*) FROM notes").fetchone() == (1,)


def test_open_damaged_file(path: Path) -> None:
    """A header with garbage behind it is an error of the store, not of the driver."""
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    before = _contents(path.parent)
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert _contents(path.parent) == before


def test_open_empty_file(path: Path) -> None:
    """A file without a byte is nobody's, so it is taken."""
    path.touch()
    with closing(SqliteStore(path)) as store:
        issue(store)
    assert path.stat().st_size > 0


def test_open_wal_file_without_tables(path: Path) -> None:
    """A registry whose making was cut off after its first step is made whole."""
    _run(path, "PRAGMA journal_mode=WAL")
    assert path.stat().st_size > 0
    with closing(SqliteStore(path)) as store:
        issue(store)


def test_open_making_cut_off_later(path: Path) -> None:
    """A registry whose tables are only in the log yet, as after a crash, opens with what was committed."""
    with closing(SqliteStore(path)) as store:
        key, _ = issue(store)
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    with closing(SqliteStore(copy)) as store:
        assert store.get_key(key).key == key


def test_open_synchronous(path: Path) -> None:
    """Each commit is on the disk before it returns: killing the process shows too little of a power cut."""
    with closing(SqliteStore(path)) as store:
        assert store._writer.conn.execute("PRAGMA synchronous").fetchone() == (FULL,)


def test_open_file_modes(path: Path) -> None:
    """The registry and what SQLite keeps beside it are for their owner alone."""
    with closing(SqliteStore(path)) as store:
        issue(store)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"fleetkey.db": 0o600, "fleetkey.db-wal": 0o600, "fleetkey.db-shm": 0o600}
    assert [file.name for file in path.parent.iterdir()] == ["fleetkey.db"]


@pytest.mark.parametrize("name", ["100% mine?.db", "a#b.db", "é.db"])
def test_open_strange_name(name: str, path: Path) -> None:
    """A name that would mean something in a URL is only a name, for a registry and for a foreign file."""
    mine, foreign = path.with_name(name), path.with_name("foreign " + name)
    with closing(SqliteStore(mine)):
        pass
    with closing(SqliteStore(mine)) as store:
        issue(store)
    _tables(foreign)
    with pytest.raises(ForeignFileError):
        SqliteStore(foreign)
    assert {file.name for file in path.parent.iterdir()} == {name, foreign.name}


@pytest.mark.parametrize("where", ["no_folder", "folder_is_a_file", "is_a_folder"])
def test_open_impossible_place(where: str, path: Path) -> None:
    """A place where no file can be is `StoreUnavailableError` with the path in it."""
    if where == "folder_is_a_file":
        path.write_text("x")
    target = {"is_a_folder": path.parent}.get(where, path / "fleetkey.db")
    with pytest.raises(StoreUnavailableError) as caught:
        SqliteStore(target)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("stays", [True, False], ids=["stays_open", "closes"])
def test_open_made_meanwhile(stays: bool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a row
    """Whichever step another process makes, uses and closes the same new registry before: both succeed."""
    connect = sqlite3.connect
    others: list[SqliteStore] = []
    steps_left = 0

    def make_it(_: str) -> None:
        nonlocal steps_left
        steps_left -= 1
        if steps_left == 0:
            # Where the one under test holds a lock by now, the other process waits; here it gives up.
            with suppress(StoreError):
                others.append(SqliteStore(target, busy_timeout_seconds=0.01))
                issue(others[-1])
                if not stays:
                    others.pop().close()

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(make_it)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    for step in range(1, MAX_STEPS):
        target = path.with_name(f"{step}.db")
        steps_left = step
        with closing(SqliteStore(target)) as store:
            issue(store, "mine")
        if steps_left > 0:
            break
    else:
        pytest.fail("opening takes more steps than this test looks at")
    for other in others:
        assert other.find_device("mine")
        other.close()


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_open_newer_schema(journal_mode: str, path: Path) -> None:
    """What a newer Fleetkey wrote is refused with advice, and not touched, however its copy was made."""
    with closing(SqliteStore(path)) as store:
        issue(store)
    _run(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('fleetkey', '9999_later', '')",
        f"PRAGMA journal_mode={journal_mode}",
    )
    before = _contents(path.parent)
    with pytest.raises(NewerSchemaError, match=r"9999_later.*upgrade.*untouched") as caught:
        SqliteStore(path)
    assert caught.value.unknown == ["9999_later"]
    assert _contents(path.parent) == before


def test_open_older_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older Fleetkey wrote is brought up to date once, with everything in it."""
    with closing(SqliteStore(path)) as store:
        key, _ = issue(store)
    runs: list[str] = []
    monkeypatch.setattr(schema.migrations, "_migrations", [*schema.migrations._migrations])

    @schema.migrations(name="0002_later")
    def _later(db: Database) -> None:
        runs.append("0002_later")
        db.conn.execute("ALTER TABLE devices ADD COLUMN note TEXT")

    for _ in range(2):
        with closing(SqliteStore(path)) as store:
            assert store.get_key(key).key == key
            issue(store)
    assert runs == ["0002_later"]


def test_open_older_schema_step_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a step fails, none of it stays, and the file is as usable as before."""
    with closing(SqliteStore(path)) as store:
        key, _ = issue(store)
    with monkeypatch.context() as patched:
        patched.setattr(schema.migrations, "_migrations", [*schema.migrations._migrations])

        @schema.migrations(name="0002_broken")
        def _broken(db: Database) -> None:
            db.conn.execute("ALTER TABLE devices ADD COLUMN note TEXT")
            db.conn.execute("ALTER TABLE nowhere ADD COLUMN note TEXT")

        with pytest.raises(StoreUnavailableError):
            SqliteStore(path)
    with closing(SqliteStore(path)) as store:
        assert store.get_key(key).key == key
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(devices)")]
    assert "note" not in columns


def test_open_schema_before_the_append_only_audit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of before webhooks and the append-only audit opens with its rows, which may not go any more."""
    with monkeypatch.context() as patched:
        patched.setattr(schema.migrations, "_migrations", schema.migrations._migrations[:2])
        SqliteStore(path).close()
    _run(path, "INSERT INTO audit VALUES (1, 2, 'cli:ann', 'serials_added', 'ok', '', '', NULL, NULL, NULL)")
    _run(path, "DELETE FROM audit WHERE seq < 1")
    with closing(SqliteStore(path)) as store:
        assert [(row.seq, row.actor, row.by_stranger) for row in store.list_audit()] == [(1, "cli:ann", False)]
        assert store.webhook_states() == []
        assert store.begin_webhook("backend").position == store.change_bounds()[1]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        _run(path, "DELETE FROM audit")
