"""The whole store, for the code that opens it and wires its parts."""

from __future__ import annotations

from typing import Protocol

from fleetkey.registry.store.audit import AuditLog
from fleetkey.registry.store.changes import ChangeFeed
from fleetkey.registry.store.clock import ClockMarks, StoreTime
from fleetkey.registry.store.devices import Devices
from fleetkey.registry.store.keys import Keys
from fleetkey.registry.store.presence import PresenceRecords
from fleetkey.registry.store.refusals import RefusalRecords
from fleetkey.registry.store.serials import Serials
from fleetkey.registry.store.tokens import Tokens
from fleetkey.registry.store.webhooks import Webhooks

__all__ = ["Availability", "Store"]


class Availability(Protocol):
    """Checking that the store works."""

    def ping(self) -> None:
        """Read something; raises `StoreUnavailableError` if that fails."""
        ...


class Store(
    Serials,
    Devices,
    PresenceRecords,
    RefusalRecords,
    Keys,
    Tokens,
    ChangeFeed,
    AuditLog,
    Webhooks,
    StoreTime,
    ClockMarks,
    Availability,
    Protocol,
):
    """The whole registry."""

    def close(self) -> None:
        """Release files and locks; later calls raise `StoreUnavailableError`."""
        ...
