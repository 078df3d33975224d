"""What can go wrong in the registry."""

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
    """Something is wrong with the store; nothing was changed."""


class StoreUnavailableError(StoreError):
    """The store can't be read or written: permissions, a full disk, a damaged file."""


class StoreBusyError(StoreUnavailableError):
    """Another process kept the store locked for longer than `[store] busy_timeout_seconds`; try again."""


class ForeignFileError(StoreError):
    """The file is a database of something else, or no database; it was left untouched."""

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
    """No such device, key or serial."""

    def __init__(self, what: str, identifier: str) -> None:
        super().__init__(f"there is no {what} {identifier or repr(identifier)}")
        self.what = what
        self.identifier = identifier


class TooManyLabelsError(StoreError):
    """A device would have more tags, or more attributes, than one may have; nothing was changed."""

    def __init__(self, device_id: str, what: str, most: int) -> None:
        super().__init__(f"device {device_id} would have over {most} {what}; take one away first")
        self.device_id = device_id
        self.what = what


class InvalidSerialError(ValueError):
    """A text that can't be a serial; the message says why, without repeating it."""


class ConflictingSerialError(InvalidSerialError):
    """An addition that says two different things of one serial."""

    def __init__(self, conflict: SerialConflict) -> None:
        serial, first, second = conflict.serial, conflict.first, conflict.second
        super().__init__(f"entries {first} and {second} say different things of the serial {serial!r}")
        self.conflict = conflict
