"""Testing a webhook with a single event, independent of deliveries."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.webhooks.events import trial_event
from fleetkey.webhooks.sender import Failed, HookSender

if TYPE_CHECKING:
    from fleetkey.config import WebhookSettings

__all__ = ["Trial", "try_webhook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of a test: `status` if the event was accepted, otherwise `reason`, as in `Failed`."""

    webhook: str
    taken: bool
    status: int | None
    reason: str
    milliseconds: int


async def try_webhook(name: str, settings: WebhookSettings) -> Trial:
    """Post `webhook.test` once, over a new connection, within the webhook's `timeout_seconds`.

    Raises:
        SharedSecretError: the webhook's secret can't be used.
        SettingsError: the webhook's CA file can't be used.
    """
    # Reads files.
    sender = await asyncio.to_thread(HookSender, name, settings)
    began = time.monotonic()
    try:
        outcome = await sender.send(trial_event(time.time()))
    finally:
        await sender.close()
    milliseconds = round((time.monotonic() - began) * 1000)
    if isinstance(outcome, Failed):
        return Trial(webhook=name, taken=False, status=None, reason=outcome.reason, milliseconds=milliseconds)
    return Trial(webhook=name, taken=True, status=outcome.status, reason="", milliseconds=milliseconds)
