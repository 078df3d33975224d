"""Signatures of requests: HMAC-SHA256 over the time and the body."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fleetkey.access import Secret, SharedSecretError, read_shared_secret
from fleetkey.config.webhook_settings import MAX_HOOK_SECRETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.config import WebhookSettings

__all__ = ["SIGNATURE_HEADER", "TIMESTAMP_HEADER", "HookSecrets"]

TIMESTAMP_HEADER = "Fleetkey-Timestamp"
SIGNATURE_HEADER = "Fleetkey-Signature"
MIN_HOOK_SECRET_CHARACTERS = 32


class HookSecrets:
    """A webhook's secrets. Each one signs, so that the receiver may have the old or the new one."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = tuple(secrets)

    @classmethod
    def from_settings(cls, name: str, settings: WebhookSettings) -> HookSecrets:
        """Return the secrets from the settings or from the file.

        Raises:
            SharedSecretError: one can't be read or is too short, or there are too many; names the setting only.
        """
        setting = f"webhooks.{name}.secret_file"
        if settings.secret_file is None:
            setting = f"webhooks.{name}.secrets"
            return cls([read_shared_secret(setting, secret=secret) for secret in settings.secrets])
        lines = read_shared_secret(setting, path=settings.secret_file).reveal().splitlines()
        found = [Secret(line) for line in lines if line]
        if len(found) > MAX_HOOK_SECRETS or any(len(line.reveal()) < MIN_HOOK_SECRET_CHARACTERS for line in found):
            msg = (
                f"setting {setting}: {settings.secret_file} must have 1 to {MAX_HOOK_SECRETS} lines with secrets of at "
                f"least {MIN_HOOK_SECRET_CHARACTERS} characters"
            )
            raise SharedSecretError(msg)
        return cls(found)

    def headers(self, body: bytes, *, at: int) -> dict[str, str]:
        """Return the headers for a body: the time in seconds since 1970, and a signature with each secret."""
        timestamp = str(at)
        signed = timestamp.encode() + b"." + body
        signatures = (hmac.digest(secret.reveal().encode(), signed, "sha256").hex() for secret in self._secrets)
        return {
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: ",".join(f"v1={signature}" for signature in signatures),
        }
