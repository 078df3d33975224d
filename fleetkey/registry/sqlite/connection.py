"""Connections to the registry's file: opening it safely, reading from any thread, writing one at a time."""

from __future__ import annotations

import queue
import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlite_utils import Database

from fleetkey.registry.errors import (
    ForeignFileError,
    NewerSchemaError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from fleetkey.registry.sqlite.schema import APPLICATION_ID, migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TRIM_EVERY", "SqliteBase", "SqliteWatch"]

MAX_READERS = 8
TRIM_EVERY = 1000
"""How many rows a journal may exceed its bound by before the oldest are deleted."""
RETRY_SECONDS = 0.02
UNWRITABLE_SECONDS = 5.0
"""How long a failed write counts: a small write may succeed where a large one fails."""
MAX_LOOKS = 50
"""How often to inspect a file that keeps changing before it is treated as another application's."""
MAGIC = b"SQLite format 3\0"
BUSY = ("locked", "busy")


class SqliteBase:
    """One file with one writer at a time and up to `MAX_READERS` concurrent readers (write-ahead log).

    `synchronous=FULL`: commits survive a power cut, not just a crash of the process.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_seconds: float = 8.0,
        max_audit_rows: int = 1_000_000,
        max_stranger_audit_rows: int = 100_000,
        max_change_rows: int = 1_000_000,
        max_refusals: int = 100_000,
        max_refusals_per_device: int = 40,
        max_stranger_refusals: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, or create it with its tables.

        Args:
            path: the SQLite file; its directory must exist.
            busy_timeout_seconds: how long a change waits for another writer.
            max_audit_rows: maximum number of audit entries, except those of strangers.
            max_stranger_audit_rows: maximum number of strangers' audit entries.
            max_change_rows: maximum number of rows in the change feed.
            max_refusals: maximum number of refusal records about devices, application keys and listed serials.
            max_refusals_per_device: the same for one of them.
            max_stranger_refusals: maximum number of refusal records about strangers.
            clock: seconds since 1970.
        """
        self.path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._max_audit_rows = max_audit_rows
        self._max_stranger_audit_rows = max_stranger_audit_rows
        self._max_change_rows = max_change_rows
        self._max_refusals = max_refusals
        self._max_refusals_per_device = max_refusals_per_device
        self._max_stranger_refusals = max_stranger_refusals
        self._clock = clock
        self._closed = False
        self._unwritable_since: float | None = None
        self._readers: queue.LifoQueue[Database] = queue.LifoQueue()
        self._reader_slots = threading.BoundedSemaphore(MAX_READERS)
        self._write_lock = threading.Lock()
        self._committed: list[Callable[[], None]] = []
        with self._translated():
            self._refuse_foreign()
            self._writer = self._connect()
            try:
                self._migrate()
            except BaseException:
                self._writer.close()
                raise

    def close(self) -> None:
        """Close every connection; later calls raise `StoreUnavailableError`."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            self._writer.close()
        while True:
            try:
                self._readers.get_nowait().close()
            except queue.Empty:
                return

    def on_committed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each commit by this process, in the committing thread; return a way to stop it."""
        self._committed.append(callback)
        return lambda: self._committed.remove(callback) if callback in self._committed else None

    def keep_time(self, clock: Callable[[], float]) -> None:
        """Replace the clock; call it before anyone else uses the store."""
        self._clock = clock

    def _now(self) -> int:
        return int(self._clock() * 1000)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Provide a connection for reading; at most `MAX_READERS` are in use at once."""
        with self._translated():
            if not self._reader_slots.acquire(timeout=self._busy_timeout_seconds):
                msg = f"all {MAX_READERS} readers of {self.path} are in use"
                raise StoreBusyError(msg)
            try:
                reader = self._borrow_reader()
                try:
                    yield reader.conn
                finally:
                    if self._closed:
                        reader.close()
                    else:
                        self._readers.put(reader)
            finally:
                self._reader_slots.release()

    def _borrow_reader(self) -> Database:
        self._refuse_closed()
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return self._connect(query_only=True)

    @contextmanager
    def _writing(self) -> Iterator[Database]:
        """Run a transaction: at the end of the block, all of it is committed or none."""
        with self._noting_unwritable(), self._translated():
            if not self._write_lock.acquire(timeout=self._busy_timeout_seconds):
                msg = f"the store {self.path} has been busy for {self._busy_timeout_seconds:g} s; try again"
                raise StoreBusyError(msg)
            try:
                self._refuse_closed()
                connection = self._writer.conn
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            finally:
                self._write_lock.release()
        self._tell_committed()

    @contextmanager
    def _noting_unwritable(self) -> Iterator[None]:
        """Record whether the file can be written (a full disk, for example); a lock doesn't count."""
        try:
            yield
        except StoreUnavailableError:
            self._unwritable_since = time.monotonic()
            raise
        self._unwritable_since = None

    def _tell_committed(self) -> None:
        for callback in tuple(self._committed):
            callback()

    def _refuse_closed(self) -> None:
        if self._closed:
            msg = f"the store {self.path} is closed"
            raise StoreUnavailableError(msg)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the driver's errors into the registry's."""
        try:
            yield
        except StoreError:
            raise
        except sqlite3.OperationalError as error:
            if any(word in str(error) for word in BUSY):
                msg = f"the store {self.path} is locked by another process; try again"
                raise StoreBusyError(msg) from None
            msg = f"the store {self.path} can't be used: {error}"
            raise StoreUnavailableError(msg) from error
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            msg = f"the store {self.path} can't be used: {error}"
            raise StoreUnavailableError(msg) from error

    def _connect(self, *, query_only: bool = False) -> Database:
        # isolation_level None: transactions begin only where the code says so.
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            if query_only:
                connection.execute("PRAGMA query_only=ON")
            return Database(connection, execute_plugins=False)
        except BaseException:
            connection.close()
            raise

    def _header(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(100)

    def _refuse_foreign(self, looks: int = MAX_LOOKS) -> None:
        """Inspect an existing file without writing to it or next to it."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            self.path.touch(mode=0o600)
            return
        header = self._header()
        if not header.startswith(MAGIC):
            raise ForeignFileError(self.path, "it is not an SQLite database")
        # SQLite file format 1.3: the application id is at offset 68.
        application_id = int.from_bytes(header[68:72], "big")
        if application_id not in {0, APPLICATION_ID}:
            raise ForeignFileError(self.path, f"application id {application_id:#x}")
        if application_id == APPLICATION_ID:
            return
        try:
            has_tables = _tables_and_id(self.path)[0] > 0
        except sqlite3.DatabaseError:
            if self._header() == header:
                raise
            has_tables = True
        if has_tables:
            if self._header() != header and looks > 1:
                # Another process is writing to it, perhaps creating a registry: look again.
                self._refuse_foreign(looks - 1)
                return
            raise ForeignFileError(self.path, "it has another application's tables")
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.exists():
            # The creation of a registry, or of something else, was interrupted before the log was written back. A copy
            # tells which, and both are small: there is no table in the file yet.
            with tempfile.TemporaryDirectory(prefix="fleetkey-") as folder:
                copy = Path(folder) / "copy.db"
                shutil.copyfile(self.path, copy)
                shutil.copyfile(log, copy.with_name("copy.db-wal"))
                tables, application_id = _tables_and_id(copy, has_log=True)
            if tables and application_id != APPLICATION_ID:
                raise ForeignFileError(self.path, "it has another application's tables")

    def _migrate(self) -> None:
        """Bring the tables up to date, in one transaction that only one process can hold."""
        connection = self._writer.conn
        # One read, since another process may create the registry between two.
        connection.execute("BEGIN")
        try:
            self._refuse_unknown_tables()
        finally:
            connection.execute("ROLLBACK")
        self._use_log(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._refuse_unknown_tables()
            if migrations.pending(self._writer):
                migrations.apply(self._writer)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _use_log(self, connection: sqlite3.Connection) -> None:
        """Enable the write-ahead log; SQLite itself doesn't wait while another process opens the file."""
        deadline = time.monotonic() + self._busy_timeout_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if not any(word in str(error) for word in BUSY) or time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                return

    def _refuse_unknown_tables(self) -> None:
        connection = self._writer.conn
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application_id != APPLICATION_ID and tables:
            raise ForeignFileError(self.path, "it has another application's tables")
        known = {step.name for step in migrations._migrations}  # noqa: SLF001 - sqlite-utils has no public list
        unknown = [step.name for step in migrations.applied(self._writer) if step.name not in known]
        if unknown:
            raise NewerSchemaError(self.path, unknown)


def _tables_and_id(path: Path, *, has_log: bool = False) -> tuple[int, int]:
    """Count a file's tables and read its application id, touching no other file unless it has a log."""
    mode = "mode=rw" if has_log else "mode=ro&immutable=1"
    uri = f"file:{path.as_posix().replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?{mode}"
    connection = sqlite3.connect(uri, uri=True)
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return tables, connection.execute("PRAGMA application_id").fetchone()[0]
    finally:
        connection.close()


class SqliteWatch:
    """Asks SQLite whether any other connection has committed (`PRAGMA data_version`); costs microseconds."""

    def __init__(self, store: SqliteBase, *, waits: bool = True) -> None:
        self._store = store
        with store._translated():  # noqa: SLF001 - the watch is part of the store
            store._refuse_closed()  # noqa: SLF001
            self._database = store._connect(query_only=True)  # noqa: SLF001
            self._seen = self._version()
            if not waits:
                self._database.conn.execute("PRAGMA busy_timeout=0")

    def has_news(self) -> bool:
        """Whether anything was committed since the last call."""
        with self._store._translated():  # noqa: SLF001
            version = self._version()
        news = version != self._seen
        self._seen = version
        return news

    def close(self) -> None:
        """Close the watch's connection."""
        self._database.close()

    def _version(self) -> int:
        return int(self._database.conn.execute("PRAGMA data_version").fetchone()[0])
