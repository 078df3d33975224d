"""What can go wrong with backups, with being the only server, and with open files."""

from __future__ import annotations

__all__ = ["BackupError", "ServedElsewhereError", "TooFewFilesError"]


class BackupError(Exception):
    """A backup that could not be made, read or restored; the message names the file and says what to do."""


class ServedElsewhereError(Exception):
    """A database that this process may not serve, as another one does; the message names both and says what to do."""


class TooFewFilesError(Exception):
    """The limit on open files is too low for a server at all; the message names the numbers and says what to do."""

    def __init__(self, *, limit: int, least: int, wanted: int) -> None:
        super().__init__(
            f"the limit on open files is {limit}; these settings need {wanted}, and without {least} no server can run; "
            f"raise it with `ulimit -n {wanted}`, or LimitNOFILE={wanted} in a systemd unit"
        )
        self.limit, self.least, self.wanted = limit, least, wanted
