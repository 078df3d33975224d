"""An index of the principals in use, by key and by device."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from fleetkey.registry import KeyKind

if TYPE_CHECKING:
    from fleetkey.access.decisions.principal import Principal

__all__ = ["PrincipalIndex"]

SWEEP_SLACK = 1_000
"""Devices indexed beyond twice the number of principals in use, before those that are gone are removed."""


class PrincipalIndex:
    """Holds principals weakly: an entry lasts as long as a connection or the credential cache holds the principal."""

    def __init__(self) -> None:
        self._by_key: weakref.WeakValueDictionary[str, Principal] = weakref.WeakValueDictionary()
        self._applications: weakref.WeakSet[Principal] = weakref.WeakSet()
        self._keys_of_device: dict[str, set[str]] = {}

    def add(self, principal: Principal) -> None:
        """Add a principal."""
        self._by_key[principal.key] = principal
        if principal.kind is KeyKind.APPLICATION:
            self._applications.add(principal)
        if principal.device_id is not None:
            self._keys_of_device.setdefault(principal.device_id, set()).add(principal.key)
            if len(self._keys_of_device) > 2 * len(self._by_key) + SWEEP_SLACK:
                self._sweep()

    def by_key(self, key: str) -> Principal | None:
        """Return the principal of a key, or None if it isn't in use."""
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
        """Remove the devices whose principals are gone."""
        self._keys_of_device = {}
        for principal in self.all():
            if principal.device_id is not None:
                self._keys_of_device.setdefault(principal.device_id, set()).add(principal.key)
