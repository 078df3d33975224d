"""A lock that allows only one server at a time on a fleet's databases."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from fleetkey.operations.errors import ServedElsewhereError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ServeLock", "lock_file", "serving_pid"]

TAKE_SECONDS = 1.0
"""How long to wait for a server that is stopping, or for a check by `fleetkey doctor`, to release the lock."""
RETRY_SECONDS = 0.05
MAX_PID_BYTES = 20
"""How much of a lock file is read: a process id and a line break are shorter."""


class ServeLock:
    """Keeps other servers off some databases, by a lock file next to each of them.

    The kernel holds the locks (flock(2)), so they end with the process, however it ends. The files stay: if one were
    removed, a third process could lock a new file while another waits for the old one.
    """

    def __init__(self, databases: Sequence[Path]) -> None:
        self._databases = databases
        self._descriptors: list[int] = []

    def acquire(self) -> None:
        """Take the locks; blocks for at most `TAKE_SECONDS` each.

        Raises:
            ServedElsewhereError: another process holds one, or a lock file can't be created or locked. Don't serve.
        """
        try:
            for database in self._databases:
                self._take(database)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the locks."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _take(self, database: Path) -> None:
        path = lock_file(database)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            self._descriptors.append(descriptor)
            if not _locked(descriptor):
                holder = _pid_in(descriptor)
                who = f"another process (pid {holder})" if holder else "another process"
                msg = f"{database} is served by {who}; stop it first"
                raise ServedElsewhereError(msg)
            with suppress(OSError):
                # Only the lock matters: a full disk is no reason not to serve.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            msg = f"can't lock {path}: {error.strerror}; the server needs the lock to be the only one on {database}"
            raise ServedElsewhereError(msg) from None


def lock_file(database: Path) -> Path:
    """Return the path of a database's lock: next to the real file, even if it is named by a link."""
    real = database.resolve()
    return real.with_name(f"{real.name}.lock")


def serving_pid(database: Path) -> int | None:
    """Return the id of the process that serves a database; None if none does, or if it can't be determined."""
    try:
        descriptor = os.open(lock_file(database), os.O_RDONLY)
    except OSError:
        return None
    try:
        # Shared, so that two simultaneous checks don't take each other for a server.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    until = time.monotonic() + TAKE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(RETRY_SECONDS)
        else:
            return True


def _pid_in(descriptor: int) -> int | None:
    """Return the process id that the holder wrote; None if it hasn't written it yet."""
    content = os.pread(descriptor, MAX_PID_BYTES, 0).strip()
    return int(content) if content.isdigit() else None
