"""The SQLite implementation of the whole store."""

from __future__ import annotations

import time

from fleetkey.registry.errors import StoreUnavailableError
from fleetkey.registry.sqlite.clock import SqliteClock
from fleetkey.registry.sqlite.connection import UNWRITABLE_SECONDS
from fleetkey.registry.sqlite.device_search import SqliteDeviceSearch
from fleetkey.registry.sqlite.issuing import SqliteIssuing
from fleetkey.registry.sqlite.keys import SqliteKeys
from fleetkey.registry.sqlite.presence import SqlitePresence
from fleetkey.registry.sqlite.refusals import SqliteRefusals
from fleetkey.registry.sqlite.serials import SqliteSerials
from fleetkey.registry.sqlite.tokens import SqliteTokens
from fleetkey.registry.sqlite.webhooks import SqliteWebhooks

__all__ = ["SqliteStore"]


class SqliteStore(
    SqliteIssuing,
    SqliteKeys,
    SqliteDeviceSearch,
    SqlitePresence,
    SqliteRefusals,
    SqliteSerials,
    SqliteTokens,
    SqliteWebhooks,
    SqliteClock,
):
    """A `Store` in one SQLite file; several processes may use it at once.

    Raises:
        ForeignFileError: the file belongs to another application; it was left untouched.
        NewerSchemaError: the file was written by a newer Fleetkey; it was left untouched.
        StoreUnavailableError: the file can't be created, read or written.
    """

    def ping(self) -> None:
        """Read something and, if the last change could not be written, write something."""
        with self._reading() as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if self._unwritable_since is None:
            return
        if time.monotonic() - self._unwritable_since < UNWRITABLE_SECONDS:
            msg = f"the store {self.path} could not be written a moment ago"
            raise StoreUnavailableError(msg)
        with self._writing() as database:
            # The same number again: this is a real write that changes nothing.
            version = int(database.conn.execute("PRAGMA user_version").fetchone()[0])
            database.conn.execute(f"PRAGMA user_version = {version}")
