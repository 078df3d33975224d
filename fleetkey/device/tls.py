"""TLS trust."""

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
        DeviceError: the file can't be read or contains no certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError as error:
        raise DeviceError(f"CA file {ca_file}: it contains no PEM certificate") from error
    except OSError as error:
        raise DeviceError(f"CA file {ca_file}: {error.strerror}") from error
