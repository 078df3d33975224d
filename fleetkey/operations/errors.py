"""What can go wrong with backups."""

from __future__ import annotations

__all__ = ["BackupError"]


class BackupError(Exception):
    """A backup that could not be made, read or restored; the message names the file and says what to do."""
