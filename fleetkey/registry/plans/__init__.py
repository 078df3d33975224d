"""The registry's policies: pure functions, independent of any store, that decide what a store writes."""

from fleetkey.registry.plans.devices import plan_deletion, plan_state
from fleetkey.registry.plans.issue import IssueResult, plan_issue
from fleetkey.registry.plans.keys import plan_expiry, plan_first_connection, plan_operator_rotation, plan_revocation
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
    "plan_deletion",
    "plan_description",
    "plan_expiry",
    "plan_first_connection",
    "plan_issue",
    "plan_operator_rotation",
    "plan_revocation",
    "plan_state",
    "plan_tags",
]
