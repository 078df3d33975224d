"""Webhooks: whom to tell of what happens in the fleet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from fleetkey.config.fields import Table
from fleetkey.config.urls import check_url

__all__ = ["MAX_HOOKS", "WebhookEvent", "WebhookSettings", "check_webhook_name"]

MAX_HOOKS = 20
"""Webhooks in the settings; each has one request on its way at most."""
MAX_HOOK_SECRETS = 5
"""Secrets of one webhook; each makes a signature of every request."""
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
    """Return the name of a webhook if it may be one.

    Raises:
        ValueError: it has other characters than letters, digits, `_` and `-`, or too many.
    """
    if not HOOK_NAME.match(name):
        msg = f"{name[:64]!r} can't be a webhook's name; it needs 1 to 64 letters, digits, _ or -"
        raise ValueError(msg)
    return name


class WebhookSettings(Table):
    """`[webhooks.NAME]`: where to post events, signed, in order, until they are taken."""

    url: Annotated[str, AfterValidator(check_url), Field(min_length=1)]
    """Where to post; `https://`, or `http://` on this machine."""
    secrets: Annotated[tuple[SecretStr, ...], Field(max_length=MAX_HOOK_SECRETS)] = ()
    """With which requests are signed, at least 32 characters each; several while one takes over from another."""
    secret_file: Path | None = None
    """A file with the secrets instead, one a line."""
    events: Annotated[tuple[WebhookEvent, ...], Field(min_length=1)] = (
        "device.pending",
        "device.registered",
        "device.rejected",
        "device.disabled",
        "device.deleted",
        "key.revoked",
    )
    """What to tell of."""
    ca_file: Path | None = None
    """PEM file of the only authorities to trust; otherwise the usual ones."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """For one request and its answer."""
    give_up_seconds: Annotated[int, Field(ge=60, le=30 * 86_400)] = 3 * 86_400
    """For how long an event is tried, counted from when it happened; then it is passed over, logged and counted."""

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if bool(self.secrets) == (self.secret_file is not None):
            msg = "a webhook needs secret_file or secrets, one of them, with which it signs what it sends"
            raise ValueError(msg)
        return self
