"""Writing credentials to files that only their owner can read."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fleetkey.cli.errors import CommandError
from fleetkey.registry import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleetkey.access import Secret
    from fleetkey.config import MqttEndpoint

__all__ = ["application_credentials", "new_file", "write_credentials"]


def application_credentials(key: str, secret: Secret, endpoint: MqttEndpoint) -> dict[str, Any]:
    """Return an application's credentials in the format of a registration response."""
    return {
        "key": key,
        "secret": secret.reveal(),
        "mqtt": {"host": endpoint.host or "localhost", "port": endpoint.port, "tls": endpoint.is_tls},
    }


def write_credentials(path: Path, credentials: dict[str, Any]) -> None:
    """Write a new file with mode 0600.

    Raises:
        CommandError: it already exists, or can't be written.
    """
    with new_file(path) as write:
        write(json.dumps(credentials, indent=2) + "\n")


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Create an empty file with mode 0600 and yield a function that writes to it.

    The file is created first so that no credential is issued that can't be saved. If anything fails, the file is
    removed. A missing parent directory is created, accessible only to its owner, if its own parent exists.

    Raises:
        CommandError: it already exists, or can't be written.
    """
    try:
        if path.parent.parent.is_dir() and not path.parent.exists():
            make_private_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        msg = f"{path} already exists and was left unchanged"
        raise CommandError(msg) from None
    except OSError as error:
        msg = f"can't write {path}: {error.strerror}"
        raise CommandError(msg) from None

    def write(content: str) -> None:
        try:
            file.write(content)
            file.flush()
        except OSError as error:
            msg = f"can't write {path}: {error.strerror}"
            raise CommandError(msg) from None

    with os.fdopen(descriptor, "w") as file:
        try:
            yield write
        except BaseException:
            path.unlink(missing_ok=True)
            raise
