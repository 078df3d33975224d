"""The registry's values. Times are in milliseconds since 1970, UTC."""

from fleetkey.registry.model.audit import Actor, AuditEntry, AuditFilter, AuditPage, AuditRecord
from fleetkey.registry.model.changes import Change, ChangeKind
from fleetkey.registry.model.devices import (
    NO_POLICY,
    Device,
    DeviceCount,
    DeviceOrder,
    DevicePlace,
    DevicePolicy,
    DeviceState,
    Presence,
    Reregistration,
)
from fleetkey.registry.model.issuing import IssueDenied, IssuePending, IssueRequest, KeyIssued
from fleetkey.registry.model.keys import (
    MAX_EXPIRED_AT_ONCE,
    AccessKey,
    ApplicationScope,
    KeyKind,
    KeysEnding,
    KeyStatus,
    Login,
    RetiredReason,
)
from fleetkey.registry.model.refusal_reasons import RefusalReason, RefusalStage
from fleetkey.registry.model.refusals import (
    RefusalCount,
    RefusalFilter,
    RefusalIncrement,
    RefusalListener,
    RefusalPage,
    RefusalRecord,
    is_whole_claim,
    redacted,
    shown_claim,
)
from fleetkey.registry.model.scans import Scan
from fleetkey.registry.model.serials import ListedSerial, SerialConflict, SerialsAdded
from fleetkey.registry.model.tokens import Role, Token, TokenVerifier
from fleetkey.registry.model.webhooks import WebhookState

__all__ = [
    "MAX_EXPIRED_AT_ONCE",
    "NO_POLICY",
    "AccessKey",
    "Actor",
    "ApplicationScope",
    "AuditEntry",
    "AuditFilter",
    "AuditPage",
    "AuditRecord",
    "Change",
    "ChangeKind",
    "Device",
    "DeviceCount",
    "DeviceOrder",
    "DevicePlace",
    "DevicePolicy",
    "DeviceState",
    "IssueDenied",
    "IssuePending",
    "IssueRequest",
    "KeyIssued",
    "KeyKind",
    "KeyStatus",
    "KeysEnding",
    "ListedSerial",
    "Login",
    "Presence",
    "RefusalCount",
    "RefusalFilter",
    "RefusalIncrement",
    "RefusalListener",
    "RefusalPage",
    "RefusalReason",
    "RefusalRecord",
    "RefusalStage",
    "Reregistration",
    "RetiredReason",
    "Role",
    "Scan",
    "SerialConflict",
    "SerialsAdded",
    "Token",
    "TokenVerifier",
    "WebhookState",
    "is_whole_claim",
    "redacted",
    "shown_claim",
]
