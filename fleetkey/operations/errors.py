"""Errors of backups, of the server's lock, and of the limit on open files."""

from __future__ import annotations

__all__ = ["BackupError", "ServedElsewhereError", "TooFewFilesError"]


class BackupError(Exception):
    """A backup can't be made, read or restored; the message names the file and the problem."""


class ServedElsewhereError(Exception):
    """Another process already serves a database; the message names both and says what to do."""


class TooFewFilesError(Exception):
    """The limit on open files is too low for any server; the message has the numbers and says what to do."""

    def __init__(self, *, limit: int, least: int, wanted: int) -> None:
        super().__init__(
            f"the limit on open files is {limit}; these settings need {wanted}, and a server needs at least {least}; "
            f"raise it with `ulimit -n {wanted}`, or LimitNOFILE={wanted} in a systemd unit"
        )
        self.limit, self.least, self.wanted = limit, least, wanted
