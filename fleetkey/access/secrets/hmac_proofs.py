"""Proofs that a serial comes from a factory, `base64(HMAC-SHA256(group secret, serial))`, and the shared secrets."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

from fleetkey.access.errors import SharedSecretError
from fleetkey.access.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import SecretStr

    from fleetkey.config import HmacSettings

__all__ = ["GroupSecrets", "read_shared_secret"]

MIN_SHARED_SECRET_CHARACTERS = 32
"""Characters of a secret in the settings or in a file: 32 hex digits are 128 bits."""
MAX_SHARED_SECRET_BYTES = 4096
"""Bytes of such a secret."""


class GroupSecrets:
    """The group secrets by name. Several are valid at once, so that one can replace another gradually."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)

    @classmethod
    def from_settings(cls, settings: HmacSettings) -> GroupSecrets:
        """Return the secrets in the settings and in the files that they name.

        Raises:
            SharedSecretError: a secret can't be read or is too short; names the group and the file, not the secret.
        """
        found = {
            name: read_shared_secret(f"registration.hmac.secrets.{name}", secret=secret)
            for name, secret in settings.secrets.items()
        }
        for name, path in settings.secret_files.items():
            found[name] = read_shared_secret(f"registration.hmac.secret_files.{name}", path=path)
        return cls(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the groups."""
        return tuple(self._secrets)

    def prove(self, serial: str, group: str) -> Secret:
        """Return a group's proof of a serial. Raises `KeyError` for an unknown group."""
        digest = hmac.digest(self._secrets[group].reveal().encode(), serial.encode(), "sha256")
        return Secret(base64.b64encode(digest).decode())

    def group_of(self, serial: str, proof: str) -> str | None:
        """Return the group whose proof this is, or None; takes the same time whichever it is."""
        given = proof.encode(errors="replace")
        found: str | None = None
        for name in self._secrets:
            if hmac.compare_digest(self.prove(serial, name).reveal().encode(), given):
                found = name
        return found


def read_shared_secret(setting: str, *, secret: SecretStr | None = None, path: Path | None = None) -> Secret:
    """Return a secret from the settings, or the content of a file without the line break at its end.

    Args:
        setting: name of the setting, for the error message.
        secret: the secret itself, unless it is in a file.
        path: the file.

    Raises:
        SharedSecretError: the secret can't be read, or is too short or too long; names the setting and the file, not
            the secret.
    """
    if path is None:
        text, where = secret.get_secret_value() if secret is not None else "", f"setting {setting}"
    else:
        where = f"setting {setting}: {path}"
        try:
            with path.open("rb") as file:
                content = file.read(MAX_SHARED_SECRET_BYTES + 1)
            text = content.decode().rstrip("\r\n")
        except OSError as error:
            msg = f"{where} can't be read: {error.strerror}"
            raise SharedSecretError(msg) from None
        except UnicodeDecodeError:
            msg = f"{where} is not UTF-8"
            raise SharedSecretError(msg) from None
    if len(text) < MIN_SHARED_SECRET_CHARACTERS or len(text.encode()) > MAX_SHARED_SECRET_BYTES:
        msg = (
            f"{where} holds a secret that is too short or too long; it needs at least {MIN_SHARED_SECRET_CHARACTERS} "
            f"characters, such as 64 random hex digits, and at most {MAX_SHARED_SECRET_BYTES} bytes"
        )
        raise SharedSecretError(msg)
    return Secret(text)
