"""Webhooks, remotely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.remote import values
from fleetkey.cli.remote.client import segment
from fleetkey.registration.api.answers import TrialAnswer, WebhookPage
from fleetkey.webhooks import Trial

if TYPE_CHECKING:
    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management import WebhookStatus

__all__ = ["RemoteWebhooks"]


class RemoteWebhooks:
    """What `WebhookService` does for commands, and trials by the server. Errors of every method: `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def statuses(self) -> list[WebhookStatus]:
        """Return all webhooks of the server's settings."""
        return list(map(values.webhook, self._client.ask("GET", "webhooks", WebhookPage).items))

    def trial(self, name: str) -> Trial:
        """Let the server post `webhook.test` once."""
        answer = self._client.ask("POST", f"webhooks/{segment('webhook', name)}/test", TrialAnswer)
        return Trial(
            webhook=answer.webhook,
            taken=answer.taken,
            status=answer.status,
            reason=answer.reason,
            milliseconds=answer.milliseconds,
        )
