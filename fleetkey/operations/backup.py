"""Making backups of a whole fleet while it runs, and restoring them."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fleetkey.operations.archive import BROKER, REGISTRY, pack, unpack
from fleetkey.operations.errors import BackupError
from fleetkey.operations.sqlite_files import Snapshot, check_file, check_same_shape, seized, write_over
from fleetkey.registry import AuditEntry, SqliteStore, make_private_folder, store_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.config import Settings

__all__ = ["FleetFiles", "MadeBackup", "RestoredBackup", "make_backup", "restore_backup"]

WORKSHOP, LOCK = ".fleetkey-work-", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFiles:
    """Where a fleet's databases are."""

    registry: Path
    broker: Path

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the files that the settings name. Raises `StoreError`: the registry is not a file."""
        return cls(registry=store_path(settings), broker=settings.data_dir / "broker.db")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBackup:
    """A backup that was made."""

    made_at: str
    size: int
    has_broker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredBackup:
    """A backup that was restored."""

    made_at: str
    version: str
    devices: int
    keys: int


def make_backup(
    files: FleetFiles, target: Path, *, on_progress: Callable[[int, int], None] | None = None
) -> MadeBackup:
    """Write a backup to a new file. It includes everything committed before, and doesn't block writers.

    The copies and the archive are stored next to `target` for a while, so this needs twice the space.

    Raises:
        BackupError: there is no fleet, the file already exists, or something can't be read or written.
    """
    if not files.registry.exists():
        msg = f"there is no registry at {files.registry}"
        raise BackupError(msg)
    if target.exists():
        msg = f"{target} already exists and was left unchanged"
        raise BackupError(msg)
    if not target.parent.is_dir():
        msg = f"can't write {target}: there is no directory {target.parent}; create it first"
        raise BackupError(msg)
    made_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    with _workshop(target.parent) as folder, ExitStack() as open_snapshots:
        # Both at nearly the same time: at its start, the broker drops whatever the registry doesn't know.
        snapshots = {REGISTRY: Snapshot(files.registry)}
        if files.broker.exists() and files.broker.stat().st_size:
            snapshots[BROKER] = Snapshot(files.broker)
        for snapshot in snapshots.values():
            open_snapshots.callback(snapshot.close)
        for name, snapshot in snapshots.items():
            snapshot.copy_to(folder / name, on_progress)
            snapshot.close()
        pack(folder / "archive", [folder / name for name in snapshots], made_at=made_at)
        try:
            # Link rather than rename, which would replace a file created in the meantime.
            target.hardlink_to(folder / "archive")
        except FileExistsError:
            msg = f"{target} already exists and was left unchanged"
            raise BackupError(msg) from None
        except OSError:
            # The file system doesn't support links.
            (folder / "archive").rename(target)
        _settle(target.parent)
    return MadeBackup(made_at=made_at, size=target.stat().st_size, has_broker=BROKER in snapshots)


def restore_backup(
    files: FleetFiles, source: Path, *, check_broker: Callable[[Path], None], overwrite: bool, actor: str
) -> RestoredBackup:
    """Restore a fleet that is not in use from a backup. The backup is checked before anything changes.

    Args:
        files: the fleet's databases.
        source: the backup.
        check_broker: raises `sqlite3.Error` if a file is not a broker's database.
        overwrite: replace an existing fleet.
        actor: who does it, for the audit log.

    Raises:
        BackupError: the backup is invalid, a fleet exists and `overwrite` is False, or the fleet is in use.
        StoreError: the backup's registry was written by a newer Fleetkey, or is none.
    """
    if not os.path.exists(source):  # noqa: PTH110 - doesn't raise, whatever keeps one from looking
        # Checked first: someone who mistyped the name must not be told to overwrite a fleet.
        msg = f"there is no file {source}"
        raise BackupError(msg)
    present = [path for path in (files.registry, files.broker) if path.exists() and path.stat().st_size]
    if present and not overwrite:
        msg = f"a fleet already exists: {present[0]}; choose another --data-dir, or use --overwrite"
        raise BackupError(msg)
    with _workshop(files.registry.parent) as folder:
        manifest = unpack(source, folder)
        for packed in manifest.files:
            try:
                check_file(folder / packed.name)
                if packed.name == BROKER:
                    check_broker(folder / BROKER)
            except BackupError as error:
                msg = f"{source} can't be used: {error}"
                raise BackupError(msg) from None
            except sqlite3.Error as error:
                msg = f"{source} can't be used: {packed.name}: {error}"
                raise BackupError(msg) from None
        try:
            with closing(SqliteStore(folder / REGISTRY)) as store:
                devices, keys = store.count_devices(), store.count_keys()
                entry = AuditEntry(actor=actor, action="backup_restored", outcome="ok", reason=manifest.made_at)
                store.record(entry)
            with closing(SqliteStore(folder / "as-new")):
                check_same_shape(folder / REGISTRY, folder / "as-new")
        except (BackupError, sqlite3.Error) as error:
            msg = f"{source} can't be used: {REGISTRY}: {error}"
            raise BackupError(msg) from None
        with seized(files.registry) as registry, seized(files.broker) as broker:
            # The registry last: until then, the broker merely has more data than it needs.
            _put(folder / BROKER, files.broker, broker)
            _put(folder / REGISTRY, files.registry, registry)
        _settle(files.registry.parent)
    return RestoredBackup(made_at=manifest.made_at, version=manifest.version, devices=devices, keys=keys)


def _put(source: Path, target: Path, held: sqlite3.Connection | None) -> None:
    if not source.exists():
        # The backup has no broker database, so the existing one belongs to another fleet.
        if held is not None:
            target.unlink()
    elif held is not None:
        write_over(held, source)
    else:
        for suffix in ("-wal", "-shm"):
            # Remains of a deleted database belong to nothing.
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
        make_private_folder(target.parent)
        shutil.move(source, target)


@contextmanager
def _workshop(parent: Path) -> Iterator[Path]:
    """Provide an empty directory that only its owner can read, and remove it with its contents.

    Leftovers of killed commands are removed as well, and so are parent directories created for it that stayed empty.
    """
    made: list[Path] = []
    try:
        made = make_private_folder(parent)
        _clear_up(parent)
        with (
            tempfile.TemporaryDirectory(prefix=WORKSHOP, dir=parent) as folder,
            (Path(folder) / LOCK).open("wb") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
    except OSError as error:
        msg = f"can't write in {parent}: {error.strerror}"
        raise BackupError(msg) from None
    finally:
        with suppress(OSError):
            for path in reversed(made):
                path.rmdir()


def _clear_up(parent: Path) -> None:
    """Remove the work directories of killed commands, which contain copies of the fleet."""
    for folder in parent.glob(f"{WORKSHOP}*"):
        with suppress(OSError), (folder / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Sync a directory, so that a new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
