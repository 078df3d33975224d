"""The principals in use, kept up to date with the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access.decisions.principal import Principal
from fleetkey.access.login.principal_index import PrincipalIndex
from fleetkey.access.login.revalidation import Revalidation
from fleetkey.access.login.verification import VerifiedLogin
from fleetkey.registry import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fleetkey.access.decisions.scope import TopicScope
    from fleetkey.access.login.credential_cache import CredentialCache
    from fleetkey.access.login.verification import RescopedApplication, Verification
    from fleetkey.registry import Change, RefusalReason

    RescopedListener = Callable[[Collection[str] | None], None]

__all__ = ["ActivePrincipals"]

log = structlog.get_logger(__name__)


class ActivePrincipals:
    """Admits verified logins, and revokes, rescopes or revalidates their principals when the registry changes.

    Belongs to one event loop.

    Args:
        verification: revalidates; its calls block.
        cache: gets the credentials of whom it admits, and loses those of whom it revokes.
    """

    def __init__(self, verification: Verification, cache: CredentialCache) -> None:
        self._cache = cache
        self._index = PrincipalIndex()
        self._revalidation = Revalidation(verification, self._device_dependent, self._on_revalidated, self._on_followed)
        self._revoked_listeners: list[Callable[[Principal], None]] = []
        self._rescoped_listeners: list[RescopedListener] = []
        self._disabled_listeners: list[Callable[[str], None]] = []
        self._ended_listeners: list[Callable[[str], None]] = []
        self._reset_listeners: list[Callable[[], None]] = []

    def admit(self, verified: VerifiedLogin, password: bytes) -> Principal:
        """Return the key's principal, the same one for all its connections, and cache its credentials."""
        login = verified.login
        principal = self._index.by_key(login.key)
        if principal is None or principal.is_revoked:
            principal = _new_principal(verified)
            self._index.add(principal)
        else:
            self._rescope(principal, verified)
        principal.expires_at = login.expires_at
        self._cache.add(principal, password)
        return principal

    def find(self, key: str) -> Principal | None:
        """Return the principal of a key that is in use."""
        return self._index.by_key(key)

    def stand_in(self, verified: VerifiedLogin) -> Principal:
        """Return a principal for a single decision: nothing keeps it up to date."""
        return _new_principal(verified)

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply committed changes: uncache, revoke or revalidate whom they affect."""
        changed_devices: dict[str, None] = {}
        for change in changes:
            match change.kind:
                case ChangeKind.KEY_RETIRED if change.key is not None:
                    self._revoke(self._index.by_key(change.key), change.key, change.kind)
                    if change.device_id is None:
                        self._end(change.key)
                case ChangeKind.DEVICE_REJECTED | ChangeKind.DEVICE_DISABLED | ChangeKind.DEVICE_DELETED if (
                    change.device_id is not None
                ):
                    self._disable(change.device_id, change.kind)
                    if change.kind is ChangeKind.DEVICE_DELETED:
                        self._end(change.device_id)
                        # Its serial, and with it its topics, may go to another device.
                        changed_devices[change.device_id] = None
                case ChangeKind.KEY_EXPIRING if change.key is not None:
                    self._cache.remove(change.key)
                    self._revalidation.schedule(filter(None, [self._index.by_key(change.key)]))
                case ChangeKind.DEVICE_TAGGED if change.device_id is not None:
                    tagged = self._index.of_device(change.device_id)
                    self._revalidation.schedule(principal for principal in tagged if principal.follows_devices)
                    changed_devices[change.device_id] = None
                case ChangeKind.RESET:
                    self._cache.clear()
                    self._revalidation.schedule(self._index.all())
                    for listener in self._reset_listeners:
                        listener()
                case _:
                    pass
        if changed_devices:
            self._revalidation.schedule_for_devices(changed_devices)

    def on_revoked(self, callback: Callable[[Principal], None]) -> None:
        """Call `callback` with each principal that stops being valid."""
        self._revoked_listeners.append(callback)

    def on_rescoped(self, callback: RescopedListener) -> None:
        """Call `callback` whenever a principal's topics change, with the patterns gained and lost; None for any."""
        self._rescoped_listeners.append(callback)

    def on_disabled(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each device id that is disabled, rejected or deleted, though its key isn't in use."""
        self._disabled_listeners.append(callback)

    def on_ended(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each device id that is deleted and each application key that is retired."""
        self._ended_listeners.append(callback)

    def on_reset(self, callback: Callable[[], None]) -> None:
        """Call `callback` when changes were missed."""
        self._reset_listeners.append(callback)

    async def close(self) -> None:
        """Stop revalidating."""
        await self._revalidation.close()

    def _device_dependent(self) -> list[Principal]:
        """Return the applications whose scope depends on devices."""
        return [principal for principal in self._index.applications() if principal.follows_devices]

    def _on_revalidated(self, key: str, found: VerifiedLogin | RefusalReason) -> None:
        principal = self._index.by_key(key)
        if principal is None:
            return
        if isinstance(found, VerifiedLogin):
            self._rescope(principal, found)
            principal.expires_at = found.login.expires_at
        else:
            self._revoke(principal, key, ChangeKind.KEY_RETIRED)

    def _on_followed(self, principal: Principal, rescoped: RescopedApplication) -> None:
        if not principal.is_revoked:
            self._set_scope(principal, rescoped.scope, rescoped.patterns)

    def _rescope(self, principal: Principal, verified: VerifiedLogin) -> None:
        principal.reach = verified.login.scope
        if not verified.scope.has_same_patterns(principal.scope):
            self._set_scope(principal, verified.scope, None)

    def _set_scope(self, principal: Principal, scope: TopicScope, patterns: Collection[str] | None) -> None:
        principal.scope = scope
        for listener in self._rescoped_listeners:
            listener(patterns)

    def _revoke(self, principal: Principal | None, key: str, because: ChangeKind) -> None:
        self._cache.remove(key)
        if principal is None or principal.is_revoked:
            return
        principal.is_revoked = True
        principal.revoked_by = because
        log.info("principal_revoked", key=key, device_id=principal.device_id, because=because.value)
        for listener in self._revoked_listeners:
            listener(principal)

    def _disable(self, device_id: str, because: ChangeKind) -> None:
        for principal in self._index.of_device(device_id):
            self._revoke(principal, principal.key, because)
        for listener in self._disabled_listeners:
            listener(device_id)

    def _end(self, owner: str) -> None:
        for listener in self._ended_listeners:
            listener(owner)


def _new_principal(verified: VerifiedLogin) -> Principal:
    login = verified.login
    principal = Principal(
        key=login.key,
        kind=login.kind,
        device_id=login.device_id,
        name=login.name,
        scope=verified.scope,
        allowed_networks=verified.allowed_networks,
        follows_devices=verified.follows_devices,
        policy=login.policy,
    )
    principal.reach = login.scope
    return principal
