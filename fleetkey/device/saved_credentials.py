"""Loads the credentials that a device saved earlier."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fleetkey.device import credentials_file
from fleetkey.device.credentials import Credentials
from fleetkey.device.errors import CredentialsFileError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_saved_credentials"]

logger = logging.getLogger("fleetkey.device")


def load_saved_credentials(path: Path, serial: str) -> Credentials | None:
    """Return the device's credentials from its file, or None if it has to register.

    A damaged file counts as missing and is kept as `NAME.corrupt`: a power cut must never brick a device.

    Raises:
        CredentialsFileError: `unusable`, so a person has to act: the directory doesn't exist, or the file can't be
            read, is not a credentials file, contains an application key, or belongs to another serial.
    """
    if not path.absolute().parent.is_dir():
        raise CredentialsFileError(path, "its directory does not exist", kind="unusable")
    try:
        credentials = Credentials.load(path)
    except CredentialsFileError as error:
        if error.kind == "unusable":
            raise
        if error.kind == "corrupt":
            logger.warning("device.credentials_corrupt error=%s kept=%s", error, credentials_file.set_aside(path))
        return None
    if credentials.device_id is None:
        raise CredentialsFileError(path, "contains an application key, not a device's credentials", kind="unusable")
    if credentials.serial not in {None, serial}:
        reason = f"belongs to serial {credentials.serial}, but this device's serial is {serial}: use another file"
        raise CredentialsFileError(path, reason, kind="unusable")
    return credentials
