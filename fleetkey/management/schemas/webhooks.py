"""The schemas of webhooks and of test requests."""

from __future__ import annotations

import msgspec

from fleetkey.management.schemas.times import Time

__all__ = ["TrialAnswer", "WebhookAnswer", "WebhookPage"]


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook in the settings; `to` is its URL without path and query."""

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
    """All webhooks, in the order of the settings; `next_cursor` is always null."""

    items: list[WebhookAnswer]
    next_cursor: str | None


class TrialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a test request: `status` if the receiver accepted it, otherwise `reason`."""

    webhook: str
    taken: bool
    status: int | None
    reason: str
    milliseconds: int
