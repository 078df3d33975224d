"""Viewing webhooks: where each posts to, and how far behind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fleetkey.management.schemas import WebhookAnswer, when
from fleetkey.registry import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from fleetkey.config import WebhookSettings
    from fleetkey.registry.store import ChangeReader, WebhookReader

    class WebhookStore(WebhookReader, ChangeReader, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["WebhookService", "find_webhook"]


class WebhookService:
    """Reports on the webhooks in the settings. Every method blocks and may raise `StoreError`."""

    def __init__(self, store: WebhookStore, settings: Mapping[str, WebhookSettings]) -> None:
        self._store = store
        self._settings = settings

    def statuses(self) -> list[WebhookAnswer]:
        """Return all webhooks, in the order of the settings."""
        states = {state.name: state for state in self._store.webhook_states()}
        newest = self._store.change_bounds()[1]
        found = []
        for name, hook in self._settings.items():
            state = states.get(name)
            found.append(
                WebhookAnswer(
                    name=name,
                    to=_origin(hook.url),
                    events=list(hook.events),
                    # A webhook that no server has started yet isn't behind.
                    behind=max(newest - state.position, 0) if state else 0,
                    delivered=state.delivered if state else 0,
                    given_up=state.given_up if state else 0,
                    missed=state.missed if state else 0,
                    delivered_at=when(state.delivered_at) if state else None,
                    last_error=state.last_error if state else "",
                )
            )
        return found


def find_webhook(settings: Mapping[str, WebhookSettings], name: str) -> WebhookSettings:
    """Return a webhook in the settings. Raises `NotFoundError`, which lists the existing ones."""
    hook = settings.get(name)
    if hook is None:
        raise NotFoundError(
            "webhook", f"{name[:64]!r} in the settings; the webhooks are: {', '.join(settings) or 'none'}"
        )
    return hook


def _origin(url: str) -> str:
    """Return a URL without its path and query, which may contain a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" + ("/…" if parts.path.strip("/") or parts.query else "")
