"""Writing credentials where only their owner can read them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from fleetkey.cli.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.access import Secret
    from fleetkey.registration import MqttEndpoint

__all__ = ["application_credentials", "write_credentials", "write_new_file"]


def application_credentials(key: str, secret: Secret, endpoint: MqttEndpoint) -> dict[str, Any]:
    """Return an application's credentials in the form of a registration answer."""
    return {
        "key": key,
        "secret": secret.reveal(),
        "mqtt": {"host": endpoint.host or "localhost", "port": endpoint.port, "tls": endpoint.is_tls},
    }


def write_credentials(path: Path, credentials: dict[str, Any]) -> None:
    """Write a new file with mode 0600.

    Raises:
        CommandError: it exists already, or can't be written.
    """
    write_new_file(path, json.dumps(credentials, indent=2) + "\n")


def write_new_file(path: Path, content: str) -> None:
    """Write a new file with mode 0600. Raises `CommandError` as `write_credentials` does."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        msg = f"{path} exists already; it was left as it is"
        raise CommandError(msg) from None
    except OSError as error:
        msg = f"can't write {path}: {error.strerror}"
        raise CommandError(msg) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
