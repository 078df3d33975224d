"""How far webhooks are."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WebhookState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookState:
    """How far a webhook is in the change feed, and what became of what it was to be told."""

    name: str
    position: int
    """Everything up to this change was taken, or given up."""
    delivered: int = 0
    """Events that were taken."""
    given_up: int = 0
    """Events that were tried for too long."""
    missed: int = 0
    """Changes that were dropped from the feed before the webhook came to them."""
    delivered_at: int | None = None
    """When an event was taken last."""
    last_error: str = ""
    """Why the last request failed; empty once one was taken."""
