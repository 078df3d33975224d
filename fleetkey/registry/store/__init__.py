"""What the rest of Fleetkey needs from a store, in small protocols. SQLite implements all; other stores may, too.

Each consumer names only the protocols it needs; `Store`, which combines them, is for what opens a store and wires it.

All methods block; callers on an event loop run them in a thread. Every method may be called from any thread, and
several processes may share a store. Every change is one transaction together with its rows in the change feed and the
audit log; once the method returns, the change survives a power cut. `registry.plans` decides what a change does.

Every method may raise `StoreBusyError` (locked for too long; try again) and `StoreUnavailableError` (can't be read or
written; an operator has to act).
"""

from fleetkey.registry.store.audit import AuditLog, AuditReader, AuditWriter, DeletedDevices
from fleetkey.registry.store.changes import ChangeFeed, ChangeReader, ChangeWatch
from fleetkey.registry.store.clock import ClockMarks, StoreTime
from fleetkey.registry.store.devices import (
    DeviceBatches,
    DeviceChanges,
    DeviceIssuing,
    DeviceLookup,
    Devices,
    DeviceSearch,
)
from fleetkey.registry.store.keys import KeyBatches, KeyChanges, KeyLookup, Keys, Logins
from fleetkey.registry.store.presence import PresenceRecords
from fleetkey.registry.store.refusals import RefusalReader, RefusalRecords, RefusalWriter
from fleetkey.registry.store.serials import SerialLookup, Serials
from fleetkey.registry.store.store import Availability, Store
from fleetkey.registry.store.tokens import Tokens
from fleetkey.registry.store.webhooks import WebhookProgress, WebhookReader, Webhooks

__all__ = [
    "AuditLog",
    "AuditReader",
    "AuditWriter",
    "Availability",
    "ChangeFeed",
    "ChangeReader",
    "ChangeWatch",
    "ClockMarks",
    "DeletedDevices",
    "DeviceBatches",
    "DeviceChanges",
    "DeviceIssuing",
    "DeviceLookup",
    "DeviceSearch",
    "Devices",
    "KeyBatches",
    "KeyChanges",
    "KeyLookup",
    "Keys",
    "Logins",
    "PresenceRecords",
    "RefusalReader",
    "RefusalRecords",
    "RefusalWriter",
    "SerialLookup",
    "Serials",
    "Store",
    "StoreTime",
    "Tokens",
    "WebhookProgress",
    "WebhookReader",
    "Webhooks",
]
