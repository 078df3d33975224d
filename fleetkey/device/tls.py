"""Whom to trust."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from fleetkey.device.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["trust"]


def trust(ca_file: Path | str) -> ssl.SSLContext:
    """Return a TLS context that trusts exactly the authorities in a PEM file.

    Raises:
        DeviceError: when the file can't be read or has no certificate in it.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError as error:
        raise DeviceError(f"CA file {ca_file}: no certificate in PEM form in it") from error
    except OSError as error:
        raise DeviceError(f"CA file {ca_file}: {error.strerror}") from error
