"""Writing credentials where only their owner can read them."""

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
    with new_file(path) as write:
        write(json.dumps(credentials, indent=2) + "\n")


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Make an empty file with mode 0600 and give who asks a way to write into it.

    So that what can't be written down isn't made in the first place. If anything fails, the file is removed again.
    Its folder is made, for its owner alone, if that alone is missing.

    Raises:
        CommandError: it exists already, or can't be written.
    """
    try:
        if path.parent.parent.is_dir() and not path.parent.exists():
            make_private_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        msg = f"{path} exists already; it was left as it is"
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
