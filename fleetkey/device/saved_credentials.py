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
        CredentialsFileError: `unusable`, which takes a person to fix: the folder doesn't exist, or the file can't be
            read, isn't a credentials file, holds an application key, or belongs to another serial.
    """
    if not path.absolute().parent.is_dir():
        raise CredentialsFileError(path, "its folder is not there", kind="unusable")
    try:
        credentials = Credentials.load(path)
    except CredentialsFileError as error:
        if error.kind == "unusable":
            raise
        if error.kind == "corrupt":
            logger.warning("device.credentials_corrupt error=%s kept=%s", error, credentials_file.set_aside(path))
        return None
    if credentials.device_id is None:
        raise CredentialsFileError(path, "holds an application key, not a device's credentials", kind="unusable")
    if credentials.serial not in {None, serial}:
        reason = f"belongs to serial {credentials.serial}, and this device's is {serial}: name another file"
        raise CredentialsFileError(path, reason, kind="unusable")
    return credentials
