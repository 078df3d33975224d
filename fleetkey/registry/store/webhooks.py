"""The protocols for the webhooks' progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.registry.model import WebhookState

__all__ = ["WebhookProgress", "WebhookReader", "Webhooks"]


class WebhookReader(Protocol):
    """Reading each webhook's state."""

    def webhook_states(self) -> list[WebhookState]:
        """Return all webhooks that were ever started, ordered by name."""
        ...


class WebhookProgress(Protocol):
    """Storing each webhook's state."""

    def begin_webhook(self, name: str) -> WebhookState:
        """Return a webhook's state; a new one starts after the newest change, and is stored."""
        ...

    def save_webhook(self, state: WebhookState) -> None:
        """Store a webhook's state; neither audited nor in the change feed."""
        ...


class Webhooks(WebhookReader, WebhookProgress, Protocol):
    """Everything for webhooks."""
