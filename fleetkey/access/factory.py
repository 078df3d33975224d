"""Builds an authenticator, and the worker pool it needs, from settings and a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.templates import TopicTemplates
from fleetkey.access.login.authenticator import Authenticator
from fleetkey.access.login.credential_cache import CredentialCache
from fleetkey.access.login.verification import Verification
from fleetkey.access.protection.failure_throttle import FailureThrottle
from fleetkey.access.protection.rate_limits import RateLimiter
from fleetkey.access.worker_pool import WorkerPool

if TYPE_CHECKING:
    from fleetkey.access.login.verification import LoginStore
    from fleetkey.config import Settings

__all__ = ["build_authenticator", "build_worker_pool"]


def build_worker_pool(settings: Settings) -> WorkerPool:
    """Return the pool that logins and registrations share."""
    return WorkerPool(workers=settings.access.hash_workers, max_pending=settings.access.max_pending_hashes)


def build_authenticator(settings: Settings, store: LoginStore, pool: WorkerPool) -> Authenticator:
    """Return an authenticator for the running event loop.

    Raises:
        TemplateError: a topic pattern in the settings can't be used.
    """
    access = settings.access
    verification = Verification(
        store,
        TopicTemplates.from_settings(settings.topics, settings.profiles),
        bcrypt_rounds=access.bcrypt_rounds,
        max_scope_devices=access.max_scope_devices,
    )
    throttle = FailureThrottle(
        addresses=RateLimiter(
            limit=access.max_failures_per_address_per_minute, window_seconds=60, max_tracked=access.max_tracked
        ),
        keys=RateLimiter(
            limit=access.max_failures_per_key_per_minute, window_seconds=60, max_tracked=access.max_tracked
        ),
    )
    cache = CredentialCache(seconds=access.cache_seconds, max_entries=access.max_cached)
    return Authenticator(verification, pool, cache, throttle)
