"""Secrets that were verified lately, remembered in a form that is useless outside this process."""

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
    """Key to (HMAC-SHA256 of the secret under a random key of this process, principal, deadline).

    At most `max_entries`; the least recently used is forgotten first.
    """

    def __init__(self, *, seconds: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._max_entries = max_entries
        self._clock = clock
        self._mac_key = secrets.token_bytes(32)
        self._entries: OrderedDict[str, tuple[bytes, Principal, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._entries)

    def find(self, key: str, password: bytes) -> Principal | None:
        """Return whom key and password prove, if both were verified less than `seconds` ago."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        mac, principal, deadline = entry
        if principal.is_revoked or self._clock() >= deadline:
            del self._entries[key]
            return None
        if not hmac.compare_digest(mac, hmac.digest(self._mac_key, password, "sha256")):
            return None
        self._entries.move_to_end(key)
        return principal

    def remember(self, principal: Principal, password: bytes) -> None:
        """Remember a verified secret."""
        if not self._seconds:
            return
        self._entries.pop(principal.key, None)
        if len(self._entries) >= self._max_entries:
            self._entries.popitem(last=False)
        mac = hmac.digest(self._mac_key, password, "sha256")
        self._entries[principal.key] = (mac, principal, self._clock() + self._seconds)

    def forget(self, key: str) -> None:
        """Forget one key's secret."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
