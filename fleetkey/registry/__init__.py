"""The fleet: devices, serials, access keys, changes and audit, behind one `Store` protocol."""

from fleetkey.registry.errors import (
    ForeignFileError,
    InvalidSerialError,
    NewerSchemaError,
    NotFoundError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from fleetkey.registry.follower import ChangeFollower
from fleetkey.registry.ids import is_device_id, new_access_key, new_device_id, parse_serial
from fleetkey.registry.model import (
    AccessKey,
    ApplicationScope,
    AuditEntry,
    AuditRecord,
    Change,
    ChangeKind,
    Device,
    DeviceState,
    IssueDenied,
    IssuePending,
    IssueRequest,
    KeyIssued,
    KeyKind,
    KeyStatus,
    Login,
    Reregistration,
    SerialsAdded,
)
from fleetkey.registry.sqlite import SqliteStore
from fleetkey.registry.store import ChangeWatch, Store
from fleetkey.registry.urls import open_store, store_path

__all__ = [
    "AccessKey",
    "ApplicationScope",
    "AuditEntry",
    "AuditRecord",
    "Change",
    "ChangeFollower",
    "ChangeKind",
    "ChangeWatch",
    "Device",
    "DeviceState",
    "ForeignFileError",
    "InvalidSerialError",
    "IssueDenied",
    "IssuePending",
    "IssueRequest",
    "KeyIssued",
    "KeyKind",
    "KeyStatus",
    "Login",
    "NewerSchemaError",
    "NotFoundError",
    "Reregistration",
    "SerialsAdded",
    "SqliteStore",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "is_device_id",
    "new_access_key",
    "new_device_id",
    "open_store",
    "parse_serial",
    "store_path",
]
