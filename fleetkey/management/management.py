"""All services of one fleet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetkey.management.audit import AuditService
from fleetkey.management.devices import DeviceService
from fleetkey.management.explain import ExplainService
from fleetkey.management.keys import KeyService
from fleetkey.management.refusals import RefusalService
from fleetkey.management.serials import SerialService
from fleetkey.management.tag_rules import TagRules
from fleetkey.management.tokens import TokenService
from fleetkey.management.webhooks import WebhookService

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.config import Settings
    from fleetkey.registry import Store

__all__ = ["Management", "build_management"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The services for operators: devices, keys, serials, audit, refusals, explanations, tokens and webhooks.

    Its methods block; on an event loop, run them in a thread.
    """

    devices: DeviceService
    keys: KeyService
    serials: SerialService
    audit: AuditService
    refusals: RefusalService
    explain: ExplainService
    tokens: TokenService
    webhooks: WebhookService
    clock: Callable[[], float]
    """The registry's clock, in seconds since 1970."""

    def now(self) -> datetime:
        """Return the time by which keys and tokens expire; cheap, and doesn't block."""
        return datetime.fromtimestamp(self.clock(), UTC)


def build_management(settings: Settings, store: Store) -> Management:
    """Return the services over a store."""
    return Management(
        devices=DeviceService(store, tag_rules=TagRules(settings), grace_seconds=settings.registration.grace_seconds),
        keys=KeyService(
            store,
            bcrypt_rounds=settings.access.bcrypt_rounds,
            grace_seconds=settings.registration.grace_seconds,
            limits=settings.mqtt,
        ),
        serials=SerialService(store, profiles=settings.profiles),
        audit=AuditService(store),
        refusals=RefusalService(store),
        explain=ExplainService(settings, store),
        tokens=TokenService(store),
        webhooks=WebhookService(store, settings.webhooks),
        clock=store.now,
    )
