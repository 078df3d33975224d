"""What others need to know, and to store, of the webhooks' progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.registry.model import WebhookState

__all__ = ["WebhookProgress", "WebhookReader", "Webhooks"]


class WebhookReader(Protocol):
    """How far each webhook is in the change feed."""

    def webhook_states(self) -> list[WebhookState]:
        """Return all webhooks that ever began, in order of name."""
        ...


class WebhookProgress(Protocol):
    """Storing how far each webhook is."""

    def begin_webhook(self, name: str) -> WebhookState:
        """Return where a webhook is; one that is new begins behind the newest change, and that is stored."""
        ...

    def save_webhook(self, state: WebhookState) -> None:
        """Store where a webhook is; never audited, and no change of its own."""
        ...


class Webhooks(WebhookReader, WebhookProgress, Protocol):
    """All about webhooks."""
