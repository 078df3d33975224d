"""Decides each CONNECT: from what a client claims to a principal, or a refusal."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from fleetkey.access.errors import OverloadedError
from fleetkey.access.login.active_principals import ActivePrincipals
from fleetkey.access.login.claims import check_claims
from fleetkey.access.login.outcome import Granted, Refused
from fleetkey.access.protection.rate_limits import address_bucket
from fleetkey.access.protection.refusal_log import RefusalLog
from fleetkey.access.protection.refusal_timing import RefusalTiming
from fleetkey.registry import ChangeKind, RefusalReason, StoreError, is_access_key, redacted, shown_claim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fleetkey.access.decisions.principal import Principal
    from fleetkey.access.login.credential_cache import CredentialCache
    from fleetkey.access.login.outcome import ConnectAttempt
    from fleetkey.access.login.verification import Verification
    from fleetkey.access.protection.failure_throttle import FailureThrottle
    from fleetkey.access.worker_pool import WorkerPool
    from fleetkey.registry import Change

__all__ = ["Authenticator"]

log = structlog.get_logger(__name__)

MAX_STALE_RETRIES = 3
"""Revalidations of a key that keeps changing while its login is being verified; then the client is refused for now."""
HARMLESS = frozenset(
    {
        ChangeKind.DEVICE_APPROVED,
        ChangeKind.DEVICE_CREATED,
        ChangeKind.DEVICE_DESCRIBED,
        ChangeKind.DEVICE_ENABLED,
        ChangeKind.DEVICE_PENDING,
        ChangeKind.KEY_CONNECTED,
        ChangeKind.KEY_ISSUED,
    }
)
"""Changes that take nothing away from anyone."""


class _PendingLogin:
    """A login that a thread is verifying; stale once a change that may affect it was committed."""

    __slots__ = ("is_stale", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_stale = False


class Authenticator:
    """Decides who may connect, and tells its listeners when that changes.

    Belongs to one event loop. Knows no broker: whoever holds connections registers with `on_revoked` and the like.

    Args:
        verification: checks logins against the registry; its calls block.
        pool: runs it.
        cache: credentials that were verified recently.
        throttle: slows down addresses and keys that fail.
    """

    def __init__(
        self, verification: Verification, pool: WorkerPool, cache: CredentialCache, throttle: FailureThrottle
    ) -> None:
        self._verification = verification
        self._pool = pool
        self._cache = cache
        self._throttle = throttle
        self._refusal_timing = RefusalTiming()
        self.refusal_log = RefusalLog()
        """For whatever else refuses a login, as well."""
        self._principals = ActivePrincipals(verification, cache)
        self._pending: set[_PendingLogin] = set()
        self.counts: Counter[str] = Counter()
        """CONNECTs by outcome: `remembered` (from the cache), `verified`, or the reason for the refusal."""

    async def authenticate(self, attempt: ConnectAttempt) -> Granted | Refused:
        """Decide a CONNECT: try `recall` first, then `verify`."""
        return self.recall(attempt) or await self.verify(attempt)

    def recall(self, attempt: ConnectAttempt) -> Granted | None:
        """Decide a CONNECT from the credential cache, without hashing or reading the registry; None: use `verify`."""
        if attempt.username is None or attempt.password is None:
            return None
        principal = self._cache.find(attempt.username, attempt.password)
        if (
            principal is None
            or self._verification.has_expired(principal.expires_at)
            or check_claims(
                attempt,
                device_id=principal.device_id,
                scope=principal.scope,
                allowed_networks=principal.allowed_networks,
            )
        ):
            return None
        self.counts["remembered"] += 1
        return Granted(principal)

    async def verify(self, attempt: ConnectAttempt) -> Granted | Refused:
        """Decide a CONNECT in the pool. Nothing that a client sends makes it raise.

        Every refusal costs the same, and when it is returned doesn't depend on its reason.
        """
        received_at = self._refusal_timing.now()
        address, key = address_bucket(attempt.address), attempt.username or ""
        source = self._throttle.source_over_limit(address, key)
        outcome = await (self._check(attempt) if source is None else self._check_in_turn(attempt, source))
        if isinstance(outcome, Granted):
            self.counts["verified"] += 1
            return outcome
        self.counts[outcome.reason.value] += 1
        if not outcome.may_pass:
            # A username that can't be a key isn't counted: it may be as long as a packet.
            self._throttle.count(address, key if is_access_key(key) else None)
        if source is None:
            self._log_refusal(attempt, outcome, address)
        else:
            # Of a throttled source nothing more is logged, or a flood of attempts would become a flood of log lines.
            self.refusal_log.count("login_refused", outcome.reason.value)
        if outcome.may_pass:
            self._throttle.reset_delay(address, key)
        else:
            await self._throttle.delay(address, key)
            await self._refusal_timing.wait(received_at)
        return outcome

    async def principal_of(self, key: str) -> Principal | None:
        """Return who a key belongs to now, to decide what was left behind with it; None if it isn't valid.

        Raises:
            OverloadedError: too much waits for the registry, or the key keeps changing.
            StoreError: the registry can't be read.
        """
        principal = self._principals.find(key)
        if principal is not None:
            return None if principal.is_revoked else principal
        pending = _PendingLogin(key)
        self._pending.add(pending)
        try:
            for _ in range(MAX_STALE_RETRIES):
                found = await self._pool.run(self._verification.revalidate, key)
                if isinstance(found, RefusalReason):
                    return None
                if not pending.is_stale:
                    return self._principals.stand_in(found)
                pending.is_stale = False
        finally:
            self._pending.discard(pending)
        raise OverloadedError

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply committed changes: uncache, revoke or revalidate whom they affect. Call on the event loop."""
        for change in changes:
            self._mark_stale(change)
        self._principals.apply(changes)

    def on_revoked(self, callback: Callable[[Principal], None]) -> None:
        """Call `callback`, on the event loop, with each principal that stops being valid."""
        self._principals.on_revoked(callback)

    def on_rescoped(self, callback: Callable[[Collection[str] | None], None]) -> None:
        """Call `callback`, on the event loop, whenever the topics of a principal in use change.

        It gets the patterns that the principal gained and lost, or None if any topic may be affected.
        """
        self._principals.on_rescoped(callback)

    def on_disabled(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each device id that is disabled, rejected or deleted, though its key isn't in use."""
        self._principals.on_disabled(callback)

    def on_ended(self, callback: Callable[[str], None]) -> None:
        """Call `callback`, on the event loop, with each owner that is gone for good, connected or not.

        That is the id of each deleted device, and each retired application key.
        """
        self._principals.on_ended(callback)

    def on_reset(self, callback: Callable[[], None]) -> None:
        """Call `callback`, on the event loop, when changes were missed and any owner may be gone."""
        self._principals.on_reset(callback)

    async def close(self) -> None:
        """Release the refusals that wait, and stop revalidating. Leaves the pool and the store open."""
        self._refusal_timing.close()
        self.refusal_log.close()
        await self._principals.close()

    async def _check_in_turn(self, attempt: ConnectAttempt, source: str) -> Granted | Refused:
        try:
            async with self._throttle.turn(source):
                return await self._check(attempt)
        except OverloadedError:
            return Refused(RefusalReason.OVERLOADED, is_throttled=True)

    async def _check(self, attempt: ConnectAttempt) -> Granted | Refused:
        pending = _PendingLogin(attempt.username or "")
        self._pending.add(pending)
        try:
            found = await self._pool.run(self._verification.verify, attempt)
            for _ in range(MAX_STALE_RETRIES):
                if isinstance(found, Refused):
                    return found
                if not pending.is_stale:
                    return Granted(self._principals.admit(found, attempt.password or b""))
                # The key changed while it was being verified: the secret is right, but the rest may not be any more.
                pending.is_stale, device_id = False, found.login.device_id
                revalidated = await self._pool.run(self._verification.revalidate, found.login.key)
                found = Refused(revalidated, device_id) if isinstance(revalidated, RefusalReason) else revalidated
            return Refused(RefusalReason.OVERLOADED)
        except OverloadedError:
            return Refused(RefusalReason.OVERLOADED)
        except StoreError as error:
            self.refusal_log.stranger("registry_unreadable", level=logging.ERROR, error=str(error))
            return Refused(RefusalReason.STORE_UNAVAILABLE)
        finally:
            self._pending.discard(pending)

    def _mark_stale(self, change: Change) -> None:
        if change.kind in HARMLESS:
            return
        for pending in self._pending:
            # Which device a pending login belongs to isn't known yet, so a change to any device makes it stale. That
            # costs one more read.
            if change.key in {None, pending.key}:
                pending.is_stale = True

    def _log_refusal(self, attempt: ConnectAttempt, refused: Refused, address: str) -> None:
        what: dict[str, Any] = {
            "reason": refused.reason.value,
            "address": attempt.address,
            "code": refused.code(is_mqtt_5=attempt.is_mqtt_5),
            "key": attempt.claimed_key,
            "device_id": refused.device_id,
            "client_id": shown_claim(redacted(attempt.client_id)),
        }
        if refused.is_proven:
            is_logged = self.refusal_log.proven("login_refused", attempt.username or "", **what)
        else:
            is_logged = self.refusal_log.stranger("login_refused", **what)
        if is_logged and self._throttle.is_address_over_limit(address):
            log.warning("login_failures_limited", address=address)
