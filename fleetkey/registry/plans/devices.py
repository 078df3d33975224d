"""What approving, rejecting, disabling, enabling and deleting a device change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import AuditEntry, ChangeKind, DeviceState, RetiredReason
from fleetkey.registry.plans.plan import DeleteDevice, NewChange, Plan, RetireKeys, SetDeviceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.registry.model import Device
    from fleetkey.registry.plans.plan import HeldKey, Write

__all__ = ["plan_deletion", "plan_state"]


def plan_state(device: Device, wanted: DeviceState, *, had_key: bool, actor: str, now: int) -> Plan[bool]:
    """Decide a change of state; the result says whether anything changes.

    Args:
        device: the device as it is.
        wanted: the new state; `active` approves or enables, depending on the current state.
        had_key: whether it was ever issued a key.
        actor: who changes it.
        now: milliseconds since 1970.
    """
    if device.state == wanted:
        return Plan(result=False)
    state, action, note = wanted, _change_kind(device.state, wanted), ""
    if (device.state, wanted) == (DeviceState.DISABLED, DeviceState.ACTIVE) and not had_key:
        # It was never approved: it was disabled while waiting, or after a rejection.
        state, note = DeviceState.PENDING, "it waits for approval"
    return Plan(
        result=True,
        writes=(SetDeviceState(device_id=device.device_id, state=state, at=now),),
        changes=(NewChange(kind=_change_kind(device.state, state), device_id=device.device_id),),
        audit=AuditEntry(
            actor=actor,
            action=action,
            outcome="ok",
            reason=note,
            serial=device.serial,
            device_id=device.device_id,
        ),
    )


def plan_deletion(device: Device, keys: Sequence[HeldKey], *, actor: str, now: int) -> Plan[None]:
    """Decide a deletion: the device is deleted, and its active keys are retired.

    Args:
        device: the device.
        keys: its active keys, oldest first.
        actor: who deletes it.
        now: milliseconds since 1970.
    """
    device_id = device.device_id
    retired = tuple(key.key for key in keys)
    writes: list[Write] = [DeleteDevice(device_id=device_id)]
    if retired:
        writes.append(RetireKeys(keys=retired, reason=RetiredReason.DEVICE_DELETED, at=now))
    return Plan(
        result=None,
        writes=tuple(writes),
        changes=(
            NewChange(kind=ChangeKind.DEVICE_DELETED, device_id=device_id),
            *(NewChange(kind=ChangeKind.KEY_RETIRED, device_id=device_id, key=key) for key in retired),
        ),
        audit=AuditEntry(
            actor=actor,
            action=ChangeKind.DEVICE_DELETED,
            outcome="ok",
            serial=device.serial,
            device_id=device_id,
        ),
    )


def _change_kind(before: DeviceState, after: DeviceState) -> ChangeKind:
    match after:
        case DeviceState.DISABLED:
            return ChangeKind.DEVICE_DISABLED
        case DeviceState.PENDING:
            return ChangeKind.DEVICE_PENDING
        case DeviceState.REJECTED:
            return ChangeKind.DEVICE_REJECTED
        case DeviceState.ACTIVE:
            return ChangeKind.DEVICE_ENABLED if before is DeviceState.DISABLED else ChangeKind.DEVICE_APPROVED
