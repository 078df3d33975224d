"""How far webhooks are, in any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry import WebhookState
from tests.unit.registry.store_rig import JournalReader, issue

if TYPE_CHECKING:
    from tests.unit.registry.store_rig import StoreFactory


def test_webhook_states(make_store: StoreFactory) -> None:
    """A new webhook begins behind the newest change, and goes on from what was stored, also for another user."""
    store, other = make_store(), make_store()
    assert store.begin_webhook("empty") == WebhookState(name="empty", position=0)
    issue(store)
    newest = store.change_bounds()[1]
    journal = JournalReader(store)
    assert store.begin_webhook("backend") == WebhookState(name="backend", position=newest)
    state = WebhookState(
        name="backend",
        position=newest + 1,
        delivered=2,
        given_up=3,
        missed=4,
        delivered_at=5,
        last_error="too_slow",
    )
    store.save_webhook(state)
    assert other.begin_webhook("backend") == state
    assert other.webhook_states() == [state, WebhookState(name="empty", position=0)]
    assert journal.read() == ([], [])
