"""The principals that are in use, found by key and by device."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from fleetkey.registry import KeyKind

if TYPE_CHECKING:
    from fleetkey.access.decisions.principal import Principal

__all__ = ["PrincipalIndex"]

SWEEP_SLACK = 1_000


class PrincipalIndex:
    """Holds principals weakly: one is in here as long as a connection or a remembered secret holds it."""

    def __init__(self) -> None:
        self._by_key: weakref.WeakValueDictionary[str, Principal] = weakref.WeakValueDictionary()
        self._applications: weakref.WeakSet[Principal] = weakref.WeakSet()
        self._keys_of_device: dict[str, set[str]] = {}

    def add(self, principal: Principal) -> None:
        """Take a principal in."""
        self._by_key[principal.key] = principal
        if principal.kind is KeyKind.APPLICATION:
            self._applications.add(principal)
        if principal.device_id is not None:
            self._keys_of_device.setdefault(principal.device_id, set()).add(principal.key)
            if len(self._keys_of_device) > 2 * len(self._by_key) + SWEEP_SLACK:
                self._sweep()

    def by_key(self, key: str) -> Principal | None:
        """Return the principal of a key."""
        return self._by_key.get(key)

    def of_device(self, device_id: str) -> list[Principal]:
        """Return the principals of a device's keys."""
        keys = self._keys_of_device.get(device_id, ())
        return [principal for key in keys if (principal := self._by_key.get(key)) is not None]

    def applications(self) -> list[Principal]:
        """Return the principals of application keys."""
        return list(self._applications)

    def all(self) -> list[Principal]:
        """Return every principal."""
        return list(self._by_key.values())

    def _sweep(self) -> None:
        """Forget the devices whose principals are gone."""
        self._keys_of_device = {}
        for principal in self.all():
            if principal.device_id is not None:
                self._keys_of_device.setdefault(principal.device_id, set()).add(principal.key)
