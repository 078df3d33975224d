"""Opening the store that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleetkey.registry.clock import command_clock
from fleetkey.registry.errors import StoreUnavailableError
from fleetkey.registry.folders import make_private_folder
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from fleetkey.config import Settings
    from fleetkey.registry.clock import SteadyClock
    from fleetkey.registry.store import Store

__all__ = ["open_store", "store_path"]

SCHEME = "sqlite:///"


def store_path(settings: Settings) -> Path:
    """Return the SQLite file that the settings name.

    Raises:
        StoreUnavailableError: this version doesn't support the kind of store in `[store] url`.
    """
    if not settings.store.url:
        return settings.data_dir / "fleetkey.db"
    if not settings.store.url.startswith(SCHEME) or settings.store.url == SCHEME:
        scheme = settings.store.url.partition(":")[0]
        msg = f"setting store.url: {scheme!r} is not supported; write sqlite:///path or leave it empty"
        raise StoreUnavailableError(msg)
    return Path(settings.store.url.removeprefix(SCHEME))


def open_store(settings: Settings, *, clock: SteadyClock | None = None) -> Store:
    """Open the registry that the settings name, and create it if it doesn't exist.

    Args:
        settings: where it is.
        clock: a long-running process's clock, which continues from the last process. Without it: `command_time`.

    Raises:
        StoreUnavailableError: the directory or file can't be created, read or written.
        ForeignFileError: the file belongs to another application; it was left untouched.
        NewerSchemaError: the file was written by a newer Fleetkey; it was left untouched.
    """
    path = store_path(settings)
    try:
        make_private_folder(path.parent)
    except OSError as error:
        msg = f"can't create the data directory {path.parent}: {error.strerror}; choose another with --data-dir"
        raise StoreUnavailableError(msg) from None
    store = SqliteStore(
        path,
        busy_timeout_seconds=settings.store.busy_timeout_seconds,
        max_audit_rows=settings.store.max_audit_rows,
        max_stranger_audit_rows=settings.store.max_stranger_audit_rows,
        max_change_rows=settings.store.max_change_rows,
        max_refusals=settings.store.max_refusals,
        max_refusals_per_device=settings.store.max_refusals_per_device,
        max_stranger_refusals=settings.store.max_stranger_refusals,
    )
    try:
        if clock is None:
            store.keep_time(command_clock(store.clock_mark()))
        else:
            clock.resume(store.clock_mark(), store.recorded_at())
            store.keep_time(clock.now)
    except BaseException:
        store.close()
        raise
    return store
