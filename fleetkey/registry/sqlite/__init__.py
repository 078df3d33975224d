"""The registry in one SQLite file, through sqlite-utils."""

from fleetkey.registry.sqlite.sqlite_store import SqliteStore

__all__ = ["SqliteStore"]
