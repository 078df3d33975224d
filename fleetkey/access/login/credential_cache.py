"""A cache of recently verified credentials, in a form that is useless outside this process."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access.decisions.principal import Principal

__all__ = ["CredentialCache"]


class CredentialCache:
    """Maps a key to its principal and the HMAC-SHA256 of its secret under a random key of this process.

    Args:
        seconds: how long an entry is valid; 0 caches nothing.
        max_entries: the most entries; the least recently used is dropped first.
        clock: monotonic seconds.
    """

    def __init__(self, *, seconds: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._max_entries = max_entries
        self._clock = clock
        self._mac = hmac.new(secrets.token_bytes(32), digestmod="sha256")
        """Of nothing yet; a copy takes less time than setting the key again."""
        self._entries: OrderedDict[str, tuple[bytes, Principal, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)

    def find(self, key: str, password: bytes) -> Principal | None:
        """Return the principal of a key and password that were verified less than `seconds` ago, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        mac, principal, deadline = entry
        if principal.is_revoked or self._clock() >= deadline:
            del self._entries[key]
            return None
        if not hmac.compare_digest(mac, self._mac_of(password)):
            return None
        self._entries.move_to_end(key)
        return principal

    def add(self, principal: Principal, password: bytes) -> None:
        """Add verified credentials."""
        if not self._seconds:
            return
        self._entries.pop(principal.key, None)
        if len(self._entries) >= self._max_entries:
            self._entries.popitem(last=False)
        self._entries[principal.key] = (self._mac_of(password), principal, self._clock() + self._seconds)

    def remove(self, key: str) -> None:
        """Remove a key's credentials, if they are cached."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Remove all credentials."""
        self._entries.clear()

    def _mac_of(self, password: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(password)
        return mac.digest()
