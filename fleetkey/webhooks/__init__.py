"""Webhooks: events of the fleet, posted to your back end, signed, in order and at least once."""

from fleetkey.webhooks.delivery import HookWorker
from fleetkey.webhooks.events import Event, EventReader, trial_event
from fleetkey.webhooks.sender import Failed, HookSender, Sent
from fleetkey.webhooks.signing import HookSecrets
from fleetkey.webhooks.trial import Trial, try_webhook
from fleetkey.webhooks.webhooks import Webhooks

__all__ = [
    "Event",
    "EventReader",
    "Failed",
    "HookSecrets",
    "HookSender",
    "HookWorker",
    "Sent",
    "Trial",
    "Webhooks",
    "trial_event",
    "try_webhook",
]
