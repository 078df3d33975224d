"""The protocols for access keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleetkey.registry.model import MAX_EXPIRED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleetkey.registry.model import AccessKey, ApplicationScope, Device, KeyKind, KeysEnding, Login

__all__ = ["KeyBatches", "KeyChanges", "KeyLookup", "Keys", "Logins"]


class Logins(Protocol):
    """Reading everything that decides whether a key may connect, and what it may access."""

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        ...

    def record_first_connection(self, key: str, *, address: str = "") -> bool:
        """Record a key's first connection, with its address, and retire the older keys if it replaces them.

        Returns:
            False if the key is no longer active; nothing was changed.
        """
        ...

    def device_tags(self, device_id: str) -> dict[str, str]:
        """Return a device's tags; empty for an unknown one."""
        ...

    def scope_devices(self, scope: ApplicationScope, *, limit: int) -> list[Device]:
        """Return the devices that a scope names by id or by tags, at most `limit`; not for `all_devices`."""
        ...

    def topic_patterns(self) -> list[str]:
        """Return every topic pattern that any profile has ever given to a device."""
        ...


class KeyLookup(Protocol):
    """Reading keys as an operator sees them."""

    def get_key(self, key: str) -> AccessKey:
        """Return one key. Raises `NotFoundError`."""
        ...

    def list_keys(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        device_id: str | None = None,
        kind: KeyKind | None = None,
        include_retired: bool = False,
    ) -> list[tuple[int, AccessKey]]:
        """Return up to `limit` (position, key) pairs after position `after`, oldest first."""
        ...


class KeyChanges(Protocol):
    """Changing keys."""

    def create_application_key(
        self,
        *,
        key: str,
        secret_hash: str,
        name: str,
        scope: ApplicationScope,
        actor: str,
        description: str = "",
        sources: Sequence[str] = (),
        expires_at: int | None = None,
    ) -> AccessKey:
        """Store an application key.

        Args:
            key: the key, 32 hex digits.
            secret_hash: the hash of its secret.
            name: what it is for.
            scope: what it may access.
            actor: who creates it.
            description: further details.
            sources: addresses and networks from which it may connect; empty = anywhere.
            expires_at: when it expires, in milliseconds since 1970; None = never.

        Raises:
            NotFoundError: a device in the scope doesn't exist.
        """
        ...

    def revoke_key(self, key: str, *, actor: str) -> AccessKey:
        """Revoke a key for good. Revoking a retired key changes nothing. Raises `NotFoundError`."""
        ...

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> KeysEnding:
        """Expire a device's active keys after `grace_seconds`, so that it registers again. Raises `NotFoundError`.

        It may register again at once, whatever its re-registration policy, and the new key replaces the older ones. If
        nothing changes, because no key is valid or all are already being rotated and expire sooner, it is not audited.
        """
        ...


class KeyBatches(Protocol):
    """Changing the keys of many devices. Each call is one transaction."""

    def devices_with_keys_to_expire(self, grace_seconds: Mapping[str, int]) -> frozenset[str]:
        """Return the ids of those devices that `expire_keys_of_devices` would change now; changes nothing."""
        ...

    def expire_keys_of_devices(self, grace_seconds: Mapping[str, int], *, actor: str) -> int:
        """Expire devices' active keys, each with its own grace period. It is one transaction, so pass only a few.

        Ignores devices that don't exist, and returns how many were changed.
        """
        ...


class Keys(Logins, KeyLookup, KeyChanges, KeyBatches, Protocol):
    """Everything for keys."""

    def retire_expired_keys(self, *, limit: int = MAX_EXPIRED_AT_ONCE) -> int:
        """Retire at most `limit` expired keys; return how many."""
        ...

    def count_keys(self) -> int:
        """Return how many keys were ever issued."""
        ...
