"""Proofs of a serial: `base64(HMAC-SHA256(group secret, serial))`."""

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

__all__ = ["MIN_SHARED_SECRET_CHARACTERS", "GroupSecrets", "read_shared_secret"]

MIN_SHARED_SECRET_CHARACTERS = 32
"""Characters of a secret that a person wrote into settings or a file: 32 hex digits are 128 bits."""
MAX_SHARED_SECRET_BYTES = 4096


class GroupSecrets:
    """The group secrets by name; several at once let one take over from another."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)

    @classmethod
    def from_settings(cls, settings: HmacSettings) -> GroupSecrets:
        """Take the secrets of the settings and read those in files.

        Raises:
            SharedSecretError: one can't be read or is too short; names the group and the file, not the secret.
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
        """The groups."""
        return tuple(self._secrets)

    def prove(self, serial: str, group: str) -> Secret:
        """Return the proof of a serial by one group. Raises `KeyError` for an unknown one."""
        digest = hmac.digest(self._secrets[group].reveal().encode(), serial.encode(), "sha256")
        return Secret(base64.b64encode(digest).decode())

    def group_of(self, serial: str, proof: str) -> str | None:
        """Return the group that made a proof, in the same time whether and whichever it is; None: no group did."""
        given = proof.encode(errors="replace")
        found: str | None = None
        for name in self._secrets:
            if hmac.compare_digest(self.prove(serial, name).reveal().encode(), given):
                found = name
        return found


def read_shared_secret(setting: str, *, secret: SecretStr | None = None, path: Path | None = None) -> Secret:
    """Return a secret that is in the settings, or alone in a file; a line end behind it doesn't count.

    Raises:
        SharedSecretError: it can't be read or is too short; names setting and file, not the secret.
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
