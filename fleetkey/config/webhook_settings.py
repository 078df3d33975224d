"""The settings of webhooks, which receive events of the fleet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from fleetkey.config.fields import Table
from fleetkey.config.urls import check_url

__all__ = ["MAX_HOOKS", "WebhookEvent", "WebhookSettings", "check_webhook_name"]

MAX_HOOKS = 20
"""Maximum number of webhooks; each sends at most one request at a time."""
MAX_HOOK_SECRETS = 5
"""Maximum number of secrets of a webhook; each request is signed with all of them."""
HOOK_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

WebhookEvent = Literal[
    "device.pending",
    "device.registered",
    "device.approved",
    "device.rejected",
    "device.disabled",
    "device.enabled",
    "device.deleted",
    "key.revoked",
    "key.retired",
]


def check_webhook_name(name: str) -> str:
    """Return the name of a webhook if it is valid.

    Raises:
        ValueError: it has characters other than letters, digits, `_` and `-`, or too many.
    """
    if not HOOK_NAME.match(name):
        msg = f"{name[:64]!r} is not a valid webhook name; it must be 1 to 64 letters, digits, _ or -"
        raise ValueError(msg)
    return name


class WebhookSettings(Table):
    """`[webhooks.NAME]`: where to post events, signed and in order, until they are accepted."""

    url: Annotated[str, AfterValidator(check_url), Field(min_length=1)]
    """Where to post; `https://`, or `http://` on this machine."""
    secrets: Annotated[tuple[SecretStr, ...], Field(max_length=MAX_HOOK_SECRETS)] = ()
    """The secrets that sign requests, at least 32 characters each; several while one replaces another."""
    secret_file: Path | None = None
    """A file with the secrets, one per line, instead of `secrets`."""
    events: Annotated[tuple[WebhookEvent, ...], Field(min_length=1)] = (
        "device.pending",
        "device.registered",
        "device.rejected",
        "device.disabled",
        "device.deleted",
        "key.revoked",
    )
    """The events to send."""
    ca_file: Path | None = None
    """PEM file with the only certificate authorities to trust; by default, the usual ones."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Time limit for a request and its response."""
    give_up_seconds: Annotated[int, Field(ge=60, le=30 * 86_400)] = 3 * 86_400
    """How long delivery of an event is attempted, from when it happened; then it is skipped, logged and counted."""

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if bool(self.secrets) == (self.secret_file is not None):
            msg = "a webhook requires either secret_file or secrets, to sign its requests"
            raise ValueError(msg)
        return self
