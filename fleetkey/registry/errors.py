"""The registry's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.registry.model import SerialConflict

__all__ = [
    "ConflictingSerialError",
    "ForeignFileError",
    "InvalidSerialError",
    "NewerSchemaError",
    "NotFoundError",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "TooManyLabelsError",
]


class StoreError(Exception):
    """The store failed; nothing was changed."""


class StoreUnavailableError(StoreError):
    """The store can't be read or written: permissions, a full disk, a damaged file."""


class StoreBusyError(StoreUnavailableError):
    """Another process kept the store locked for longer than `[store] busy_timeout_seconds`; try again."""


class ForeignFileError(StoreError):
    """The file is another application's database, or no database at all; it was left untouched."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a Fleetkey registry ({reason}); it was left untouched")
        self.path = path


class NewerSchemaError(StoreError):
    """The file was written by a newer Fleetkey; it was left untouched."""

    def __init__(self, path: Path, unknown: list[str]) -> None:
        super().__init__(
            f"{path} was written by a newer Fleetkey (unknown schema step: {', '.join(unknown)}); "
            "upgrade this installation; the file was left untouched"
        )
        self.path = path
        self.unknown = unknown


class NotFoundError(StoreError):
    """There is no such device, key or serial."""

    def __init__(self, what: str, identifier: str) -> None:
        super().__init__(f"there is no {what} {identifier or repr(identifier)}")
        self.what = what
        self.identifier = identifier


class TooManyLabelsError(StoreError):
    """A device would have too many tags or attributes; nothing was changed."""

    def __init__(self, device_id: str, what: str, most: int) -> None:
        super().__init__(f"device {device_id} would have more than {most} {what}; remove one first")
        self.device_id = device_id
        self.what = what


class InvalidSerialError(ValueError):
    """A serial is invalid; the message says why, without repeating it."""


class ConflictingSerialError(InvalidSerialError):
    """Two added entries for the same serial contradict each other."""

    def __init__(self, conflict: SerialConflict) -> None:
        serial, first, second = conflict.serial, conflict.first, conflict.second
        super().__init__(f"entries {first} and {second} give different details for the serial {serial!r}")
        self.conflict = conflict
