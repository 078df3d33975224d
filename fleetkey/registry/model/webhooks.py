"""The progress of webhooks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WebhookState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookState:
    """A webhook's position in the change feed, and the results of its deliveries."""

    name: str
    position: int
    """Everything up to this change was delivered or given up."""
    delivered: int = 0
    """Number of events that were accepted."""
    given_up: int = 0
    """Number of events that were given up."""
    missed: int = 0
    """Number of changes that were deleted from the feed before the webhook processed them."""
    delivered_at: int | None = None
    """When an event was last accepted."""
    last_error: str = ""
    """Why the last request failed; empty if it succeeded."""
