"""The webhooks of a remote server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.remote.client import segment
from fleetkey.management.schemas import TrialAnswer, WebhookPage

if TYPE_CHECKING:
    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management.schemas import WebhookAnswer

__all__ = ["RemoteWebhooks"]


class RemoteWebhooks:
    """What `WebhookService` does for commands, and test requests by the server. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def statuses(self) -> list[WebhookAnswer]:
        """Return all webhooks in the server's settings."""
        return self._client.ask("GET", "webhooks", WebhookPage).items

    def trial(self, name: str) -> TrialAnswer:
        """Make the server post `webhook.test` once."""
        return self._client.ask("POST", f"webhooks/{segment('webhook', name)}/test", TrialAnswer)
