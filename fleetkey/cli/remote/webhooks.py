"""Webhooks, remotely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.remote.client import segment
from fleetkey.management.schemas import TrialAnswer, WebhookPage

if TYPE_CHECKING:
    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management.schemas import WebhookAnswer

__all__ = ["RemoteWebhooks"]


class RemoteWebhooks:
    """What `WebhookService` does for commands, and trials by the server. Errors of every method: `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def statuses(self) -> list[WebhookAnswer]:
        """Return all webhooks of the server's settings."""
        return self._client.ask("GET", "webhooks", WebhookPage).items

    def trial(self, name: str) -> TrialAnswer:
        """Let the server post `webhook.test` once."""
        return self._client.ask("POST", f"webhooks/{segment('webhook', name)}/test", TrialAnswer)
