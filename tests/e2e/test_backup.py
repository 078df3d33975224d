"""Backups of a real server under load, and the fleet that comes back from them."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import verify_secret
from fleetkey.broker import check_broker_database
from fleetkey.broker.store.schema import open_broker_database
from fleetkey.operations import BackupError, FleetFiles, backup, make_backup, restore_backup
from fleetkey.operations import archive as archives
from fleetkey.registry import KeyStatus, SqliteStore
from tests.e2e.test_kill9 import Load
from tests.support.command_line import clean_environment, cli
from tests.support.fleet import Credentials, Fleet
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENVIRONMENT = {
    **NO_LIMITS,
    "FLEETKEY_REGISTRATION__REREGISTRATION": "add",
    "FLEETKEY_REGISTRATION__MAX_KEYS": "1000",
}


def _restore(data: Path, source: Path) -> None:
    restore_backup(_files(data), source, check_broker=check_broker_database, overwrite=True, actor="test")


def _files(data: Path) -> FleetFiles:
    return FleetFiles(registry=data / "fleetkey.db", broker=data / "broker.db")


def _serials(data: Path) -> list[str]:
    with closing(SqliteStore(data / "fleetkey.db")) as store:
        return list(store.iter_serials())


def _other_fleet(data: Path) -> None:
    data.mkdir()
    with closing(SqliteStore(data / "fleetkey.db")) as store:
        store.add_serials(["SN-other"], actor="test")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with a device that left a retained message."""
    with ServerProcess(tmp_path_factory.mktemp("backup"), environment=ENVIRONMENT) as server:
        yield Fleet(server)


@pytest.fixture(scope="module")
def made(running: Fleet) -> Path:
    """Make one backup of it, without load."""
    file = running.server.folder / "quiet.tar"
    device = running.device()
    with running.connect(device) as client:
        assert client.publish(device.topic("state"), b"kept", retain=True)
    ended = cli("backup", file, "--json", data_dir=running.server.data_dir)
    assert ended.status == 0, ended.err
    assert ended.json["has_broker"] is True
    return file


def test_backup_under_load(running: Fleet, tmp_path: Path) -> None:
    """Every key that was answered before the backup began works after it was restored into another folder."""
    serials = [running.serial() for _ in range(40)]
    keeper = running.device()
    with running.connect(keeper) as client:
        assert client.publish(keeper.topic("state"), b"kept", retain=True)
    answered: list[Credentials] = []
    load = Load(running.server.url, serials, answered)
    try:
        assert eventually(lambda: len(answered) > 100)
        before = [keeper, *answered]
        file = tmp_path / "fleet.tar"
        ended = cli("backup", file, data_dir=running.server.data_dir)
        during = len(answered) + 1 - len(before)
    finally:
        load.stop()
    assert ended.status == 0, ended.err
    assert during > 10, "nothing registered meanwhile, so nothing was shown"
    assert file.stat().st_mode & 0o777 == 0o600
    target = ServerProcess(tmp_path / "other", environment=ENVIRONMENT)
    (tmp_path / "other").mkdir()
    restored = cli("restore", file, data_dir=target.data_dir)
    assert restored.status == 0, restored.err
    with closing(SqliteStore(target.database)) as store:
        for credentials in before:
            login = store.find_login(credentials.key)
            assert login is not None
            assert login.status is KeyStatus.ACTIVE
            assert login.device_id == credentials.device_id
            if credentials in {keeper, before[-1]}:
                assert verify_secret(credentials.secret.encode(), login.secret_hash)
        assert [entry.action for entry in store.last_audit(1)] == ["backup_restored"]
    with target:
        fleet = Fleet(target)
        for credentials in (keeper, before[1], before[-1]):
            with fleet.connect(credentials) as client:
                assert client.is_connected
        with fleet.connect(keeper) as client:
            client.subscribe(keeper.topic("#"))
            assert client.hears(keeper.topic("state"), b"kept")


def test_backup_has_no_secret(running: Fleet, tmp_path: Path) -> None:
    """A backup that is stolen gives away keys and hashes, but no secret, also of a device that is connected."""
    device = running.device()
    with running.connect(device) as client:
        assert client.is_connected
        make_backup(_files(running.server.data_dir), tmp_path / "stolen.tar")
    content = (tmp_path / "stolen.tar").read_bytes()
    assert device.key.encode() in content
    assert device.secret.encode() not in content


def test_restore_over_a_running_fleet(running: Fleet, made: Path) -> None:
    """A fleet that is in use isn't overwritten, whatever is said, and doesn't notice."""
    with running.store() as store:
        devices = store.count_devices()
    for words in ((), ("--overwrite",)):
        refused = cli("restore", made, *words, data_dir=running.server.data_dir)
        assert refused.status == 1
        assert ("in use" if words else "--overwrite") in refused.error
    device = running.device()
    with running.connect(device) as client, running.store() as store:
        assert client.is_connected
        assert store.count_devices() == devices + 1
    assert not list(running.server.data_dir.glob(".fleetkey-*"))


def test_restore_over_a_stopped_fleet(made: Path, tmp_path: Path) -> None:
    """Only `--overwrite` replaces a fleet; then it is the one of the backup, sessions and all."""
    data = tmp_path / "data"
    _other_fleet(data)
    with closing(sqlite3.connect(data / "broker.db")) as other:
        other.execute("CREATE TABLE other (x)")
    assert "--overwrite" in cli("restore", made, data_dir=data).error
    assert _serials(data) == ["SN-other"]
    assert cli("restore", made, "--overwrite", data_dir=data).status == 0
    assert "SN-other" not in _serials(data)
    with closing(sqlite3.connect(data / "broker.db")) as broker:
        assert broker.execute("SELECT count(*) FROM retained").fetchone()[0] >= 1


def test_backup_refused(running: Fleet, made: Path, tmp_path: Path) -> None:
    """An existing file is left as it is; no fleet is no backup; a folder that isn't there is misspelt, not made."""
    content = made.read_bytes()
    with pytest.raises(BackupError, match="already exists"):
        make_backup(_files(running.server.data_dir), made)
    assert made.read_bytes() == content
    with pytest.raises(BackupError, match="no registry"):
        make_backup(_files(tmp_path / "none"), tmp_path / "x.tar")
    with pytest.raises(BackupError, match="can't write"):
        make_backup(_files(running.server.data_dir), running.server.database / "x.tar")
    with pytest.raises(BackupError, match=r"there is no directory .*nodir"):
        make_backup(_files(running.server.data_dir), tmp_path / "nodir" / "x.tar")
    assert list(tmp_path.iterdir()) == []


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _rewritten(content: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            data = stream.read()
            if member.name == archives.MANIFEST:
                manifest = json.loads(data)
                change(manifest)
                data = json.dumps(manifest).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _from_the_future(content: bytes) -> bytes:
    return _rewritten(content, lambda manifest: manifest.update(format=2))


def _elsewhere(content: bytes) -> bytes:
    files = [{"name": "../escaped.db", "size": 1, "sha256": ""}]
    return _rewritten(content, lambda manifest: manifest.update(files=files))


def _with(content: bytes, name: str, replacement: bytes) -> bytes:
    """Put another file into a backup, as whole as the one that was there."""
    described = {"name": name, "size": len(replacement), "sha256": hashlib.sha256(replacement).hexdigest()}

    def describe(manifest: dict[str, Any]) -> None:
        manifest["files"] = [described if file["name"] == name else file for file in manifest["files"]]

    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(_rewritten(content, describe))) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            data = replacement if member.name == name else stream.read()
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _foreign_broker(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE sessions (x)")
        return _with(content, "broker.db", path.read_bytes())


def _newer_broker(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        with closing(open_broker_database(path)) as connection:
            connection.execute("UPDATE _sqlite_migrations SET name = '9999_newer' WHERE name = '0002_owed'")
            connection.execute("PRAGMA journal_mode=DELETE")
        return _with(content, "broker.db", path.read_bytes())


def _changed_registry(content: bytes, *statements: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        with closing(SqliteStore(path)):
            pass
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute("PRAGMA journal_mode=DELETE")
        return _with(content, "fleetkey.db", path.read_bytes())


def _registry_without_presence(content: bytes) -> bytes:
    return _changed_registry(content, "DROP TABLE presence")


def _registry_without_a_column(content: bytes) -> bytes:
    return _changed_registry(content, "DROP INDEX presence_online", "ALTER TABLE presence RENAME COLUMN reason TO why")


def _registry_with_a_trigger(content: bytes) -> bytes:
    body = "BEGIN UPDATE devices SET state = 'active' WHERE device_id = NEW.device_id; END"
    return _changed_registry(content, f"CREATE TRIGGER let_in AFTER INSERT ON devices {body}")


def _registry_that_says_no(content: bytes) -> bytes:
    body = "BEGIN SELECT RAISE(ABORT, 'no'); END"
    return _changed_registry(content, f"CREATE TRIGGER no_audit BEFORE INSERT ON audit {body}")


def _with_holes(content: bytes, headers: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            if member.name != archives.MANIFEST:
                member.pax_headers = headers
            new.addfile(member, stream)
    return out.getvalue()


def _sparse(content: bytes) -> bytes:
    size = {"GNU.sparse.size": str(2**40), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1"}
    return _with_holes(content, size)


def _sparse_nonsense(content: bytes) -> bytes:
    return _with_holes(content, {"GNU.sparse.map": "a,b"})


def _empty_registry(content: bytes) -> bytes:
    return _with(content, "fleetkey.db", b"")


@pytest.mark.parametrize(
    "spoil",
    [
        _cut,
        _flip,
        _from_the_future,
        _elsewhere,
        _foreign_broker,
        _newer_broker,
        _empty_registry,
        _registry_without_presence,
        _registry_without_a_column,
        _registry_with_a_trigger,
        _registry_that_says_no,
        _sparse,
        _sparse_nonsense,
        lambda _: b"",
        lambda _: b"a letter" * 1000,
    ],
)
def test_restore_of_no_backup(made: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """What is cut off, changed, of a newer form or no backup at all is refused, and nothing is there afterwards."""
    spoilt = tmp_path / "spoilt.tar"
    spoilt.write_bytes(spoil(made.read_bytes()))
    data = tmp_path / "new" / "data"
    with pytest.raises(BackupError, match="spoilt"):
        _restore(data, spoilt)
    assert list(tmp_path.iterdir()) == [spoilt]


def test_restore_cut_off(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that fails while it writes leaves the fleet that was there."""
    data = tmp_path / "data"
    _other_fleet(data)

    def broken(target: sqlite3.Connection, source: Path) -> None:
        with closing(sqlite3.connect(source)) as connection:

            def stop(*_: int) -> None:
                raise KeyboardInterrupt

            connection.backup(target, pages=1, progress=stop)

    monkeypatch.setattr(backup, "write_over", broken)
    with pytest.raises(KeyboardInterrupt):
        _restore(data, made)
    assert _serials(data) == ["SN-other"]


def test_backup_over_a_file_made_meanwhile(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name which somebody else makes while the backup is being made is left as it is."""
    data, target = tmp_path / "data", tmp_path / "fleet.tar"
    _restore(data, made)
    pack = archives.pack

    def packing(*arguments: Any, **options: Any) -> Any:
        target.write_text("somebody else's")
        return pack(*arguments, **options)

    monkeypatch.setattr("fleetkey.operations.backup.pack", packing)
    with pytest.raises(BackupError, match="already exists"):
        make_backup(_files(data), target)
    assert target.read_text() == "somebody else's"


@pytest.mark.parametrize("at_page", [1, 40, 10**9])
def test_restore_killed(tmp_path: Path, at_page: int) -> None:
    """A restore that is killed while it writes leaves the fleet that was there, or the one of the backup, whole."""
    old, new, archive = tmp_path / "old", tmp_path / "new", tmp_path / "new.tar"
    for data, name in ((old, "old"), (new, "new")):
        data.mkdir()
        with closing(SqliteStore(data / "fleetkey.db")) as store:
            store.add_serials((f"SN-{name}-{number}" for number in range(3_000)), actor="test")
    make_backup(_files(new), archive)
    code = f"""
import os, signal, sqlite3
from pathlib import Path
from fleetkey.broker import check_broker_database
from fleetkey.operations import FleetFiles, backup, restore_backup
def write(target, source):
    pages = 0
    def count(status, remaining, total):
        nonlocal pages
        pages += 1
        if pages == {at_page}:
            os.kill(os.getpid(), signal.SIGKILL)
    with sqlite3.connect(source) as connection:
        connection.backup(target, pages=1, progress=count)
    os.kill(os.getpid(), signal.SIGKILL)
backup.write_over = write
restore_backup(FleetFiles(registry=Path({str(old / "fleetkey.db")!r}), broker=Path({str(old / "broker.db")!r})),
    Path({str(archive)!r}), check_broker=check_broker_database, overwrite=True, actor="test")
"""
    ended = subprocess.run([sys.executable, "-c", code], env=clean_environment(), timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    found = _serials(old)
    assert len(found) == 3_000
    assert {serial.split("-")[1] for serial in found} == ({"new"} if at_page == 10**9 else {"old"})
    # What it left beside is a copy of the fleet that nobody would know of.
    assert len(list(old.glob(".fleetkey-work-*"))) == 1
    _restore(old, archive)
    assert _serials(old) == _serials(new)
    assert list(old.glob(".fleetkey-work-*")) == []
