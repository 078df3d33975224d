"""An authenticator from settings and a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.authenticator import Authenticator
from fleetkey.access.hashing import HashPool
from fleetkey.access.limits import AttemptLimiter
from fleetkey.access.templates import TopicTemplates
from fleetkey.access.verification import Verification
from fleetkey.access.verified import VerifiedSecrets

if TYPE_CHECKING:
    from fleetkey.access.verification import LoginStore
    from fleetkey.config import Settings

__all__ = ["build_authenticator", "build_hash_pool"]


def build_hash_pool(settings: Settings) -> HashPool:
    """Return the pool that logins and registrations share."""
    return HashPool(workers=settings.access.hash_workers, max_pending=settings.access.max_pending_hashes)


def build_authenticator(settings: Settings, store: LoginStore, pool: HashPool) -> Authenticator:
    """Return an authenticator for the running event loop.

    Raises:
        TemplateError: a topic pattern in the settings can't be used.
    """
    access = settings.access
    return Authenticator(
        Verification(
            store,
            TopicTemplates.from_settings(settings.topics, settings.profiles),
            bcrypt_rounds=access.bcrypt_rounds,
            max_scope_devices=access.max_scope_devices,
        ),
        pool,
        VerifiedSecrets(seconds=access.cache_seconds, max_entries=access.max_cached),
        AttemptLimiter(
            limit=access.max_failures_per_address_per_minute, window_seconds=60, max_tracked=access.max_tracked
        ),
        AttemptLimiter(limit=access.max_failures_per_key_per_minute, window_seconds=60, max_tracked=access.max_tracked),
    )
