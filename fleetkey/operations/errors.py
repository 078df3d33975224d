"""What can go wrong with backups, and with being the only server."""

from __future__ import annotations

__all__ = ["BackupError", "ServedElsewhereError"]


class BackupError(Exception):
    """A backup that could not be made, read or restored; the message names the file and says what to do."""


class ServedElsewhereError(Exception):
    """A database that this process may not serve, as another one does; the message names both and says what to do."""
