"""What others need from the access keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleetkey.registry.model import MAX_EXPIRED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleetkey.registry.model import AccessKey, ApplicationScope, Device, KeyKind, KeysEnding, Login

__all__ = ["KeyBatches", "KeyChanges", "KeyLookup", "Keys", "Logins"]


class Logins(Protocol):
    """All that decides whether a key may connect, and to what."""

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        ...

    def mark_connected(self, key: str, *, address: str = "") -> bool:
        """Record a key's first connection, from an address, and retire the older ones if it replaces them.

        Returns:
            False if the key stopped being active in the meantime; nothing was changed.
        """
        ...

    def device_tags(self, device_id: str) -> dict[str, str]:
        """Return a device's tags; empty for an unknown one."""
        ...

    def scope_devices(self, scope: ApplicationScope, *, limit: int) -> list[Device]:
        """Return the devices that a scope names by id or by tags, at most `limit`; not for `all_devices`."""
        ...

    def topic_patterns(self) -> list[str]:
        """Return every topic pattern that a profile ever gave to a device."""
        ...


class KeyLookup(Protocol):
    """Keys as an operator sees them."""

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
        """Return up to `limit` (position, key) pairs after position `after`, in order of issue."""
        ...


class KeyChanges(Protocol):
    """What operators do to keys."""

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
            scope: what it reaches.
            actor: who makes it.
            description: more about it.
            sources: addresses and networks from which it may connect; empty = from anywhere.
            expires_at: when it ends, in milliseconds since 1970; None = never.

        Raises:
            NotFoundError: a device id that doesn't exist.
        """
        ...

    def revoke_key(self, key: str, *, actor: str) -> AccessKey:
        """Retire a key for good. Revoking a retired one changes nothing. Raises `NotFoundError`."""
        ...

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> KeysEnding:
        """Let a device's active keys end after `grace_seconds`; it registers again then. Raises `NotFoundError`.

        From now on it may, whatever its re-registration policy, and the new key replaces the older ones. What changes
        nothing, because there is no key that works or all were rotated away and end sooner, is not audited.
        """
        ...


class KeyBatches(Protocol):
    """What operators do to the keys of many devices. Each call is one transaction."""

    def expire_keys_of_devices(self, grace_seconds: Mapping[str, int], *, actor: str) -> int:
        """Let devices' active keys end, each device with its own grace period: one transaction, so give it few.

        Those that are gone are passed over. Return for how many it changed anything.
        """
        ...


class Keys(Logins, KeyLookup, KeyChanges, KeyBatches, Protocol):
    """All about keys."""

    def retire_expired_keys(self, *, limit: int = MAX_EXPIRED_AT_ONCE) -> int:
        """Retire keys whose time is over, at most `limit`; return how many."""
        ...

    def count_keys(self) -> int:
        """Return how many keys were ever issued."""
        ...
