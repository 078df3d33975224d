"""The registry's policies: pure functions, independent of any store, that decide what a store writes."""

from fleetkey.registry.plans.devices import plan_deletion, plan_state
from fleetkey.registry.plans.issue import IssueResult, plan_issue
from fleetkey.registry.plans.keys import plan_connection, plan_expiry, plan_revocation, plan_rotation
from fleetkey.registry.plans.labels import changes_tags, plan_description, plan_tags
from fleetkey.registry.plans.plan import (
    DeleteDevice,
    EndKeys,
    HeldKey,
    InsertDevice,
    InsertKey,
    MarkConnected,
    MarkRotated,
    NewChange,
    Plan,
    RetireKeys,
    SetDeviceState,
    UpdateDevice,
    Write,
)

__all__ = [
    "DeleteDevice",
    "EndKeys",
    "HeldKey",
    "InsertDevice",
    "InsertKey",
    "IssueResult",
    "MarkConnected",
    "MarkRotated",
    "NewChange",
    "Plan",
    "RetireKeys",
    "SetDeviceState",
    "UpdateDevice",
    "Write",
    "changes_tags",
    "plan_connection",
    "plan_deletion",
    "plan_description",
    "plan_expiry",
    "plan_issue",
    "plan_revocation",
    "plan_rotation",
    "plan_state",
    "plan_tags",
]
