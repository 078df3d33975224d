"""Webhooks as operators see them: where each posts to, and how far it is."""

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
        """What the service reads."""


__all__ = ["WebhookService", "find_webhook"]


class WebhookService:
    """Looks at webhooks; what they are is in the settings alone. Every method blocks and raises `StoreError`."""

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
                    # A webhook that no server has begun yet has nothing to be behind of.
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
    """Return a webhook of the settings. Raises `NotFoundError`, which names those that there are."""
    hook = settings.get(name)
    if hook is None:
        raise NotFoundError("webhook", f"{name[:64]!r} in the settings; there is: {', '.join(settings) or 'none'}")
    return hook


def _origin(url: str) -> str:
    """Return where an address leads, without what may be a secret in it: path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" + ("/…" if parts.path.strip("/") or parts.query else "")
