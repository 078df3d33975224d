"""What is shown of a webhook, and of a trial of one."""

from __future__ import annotations

import msgspec

from fleetkey.management.schemas.times import Time

__all__ = ["TrialAnswer", "WebhookAnswer", "WebhookPage"]


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook of the settings; `to` is without path and query."""

    name: str
    to: str
    events: list[str]
    behind: int
    delivered: int
    given_up: int
    missed: int
    delivered_at: Time | None
    last_error: str


class WebhookPage(msgspec.Struct):
    """All webhooks, in the order of the settings; `next_cursor` is null."""

    items: list[WebhookAnswer]
    next_cursor: str | None


class TrialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial was answered: `status` if it was taken, otherwise `reason`."""

    webhook: str
    taken: bool
    status: int | None
    reason: str
    milliseconds: int
