"""The credentials file as bytes: bounded reads and atomic writes."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from fleetkey.device.errors import CredentialsFileError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "set_aside", "write"]

MAX_FILE_BYTES = 65_536
OWNER_ONLY = 0o600


def read(path: Path) -> bytes:
    """Return the file's content.

    Raises:
        CredentialsFileError: `missing`, or `unusable` if it can't be read or is larger than 64 KiB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise CredentialsFileError(path, "not found", kind="missing") from error
    except OSError as error:
        raise CredentialsFileError(path, f"can't be read ({error.strerror})", kind="unusable") from error
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsFileError(path, "too large for a credentials file", kind="unusable")
    return content


def write(path: Path, content: bytes) -> None:
    """Replace the file in one step, readable by its owner only.

    Raises:
        CredentialsFileError: `unusable`; the file is unchanged.
    """
    # In the same directory, because a rename is atomic only within one file system.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    try:
        try:
            _write_through(draft, content)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise CredentialsFileError(path, f"can't be written ({error.strerror})", kind="unusable") from error
    _forget_drafts(path)


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.corrupt`, so that it can still be examined.

    Raises:
        CredentialsFileError: `unusable` if it can't be renamed.
    """
    kept = path.with_name(f"{path.name}.corrupt")
    try:
        path.replace(kept)
    except OSError as error:
        raise CredentialsFileError(path, f"can't be set aside ({error.strerror})", kind="unusable") from error
    return kept


def _write_through(draft: Path, content: bytes) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # Without this, a power cut after the rename could leave an empty file.
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget_drafts(path: Path) -> None:
    """Remove temporary files of killed processes, since each contains a secret."""
    prefix = f".{path.name}."
    with suppress(OSError):
        for entry in path.parent.iterdir():
            if entry.name.startswith(prefix) and entry.name.endswith(".draft"):
                entry.unlink(missing_ok=True)
