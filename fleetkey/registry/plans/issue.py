"""The registration policy: which device a serial belongs to, whether it gets a key, and what happens to older keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from fleetkey.config.labels import MAX_LABEL_CHARACTERS
from fleetkey.config.topic_tags import missing_tags_text
from fleetkey.registry.model import (
    AuditEntry,
    ChangeKind,
    Device,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyIssued,
    RefusalReason,
    Reregistration,
    RetiredReason,
)
from fleetkey.registry.plans.labels import check_label_count
from fleetkey.registry.plans.plan import EndKeys, InsertDevice, InsertKey, NewChange, Plan, RetireKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.registry.model import IssueRequest
    from fleetkey.registry.plans.plan import HeldKey, Write

__all__ = ["IssueResult", "plan_issue"]

IssueResult: TypeAlias = KeyIssued | IssuePending | IssueDenied

NAME_PLACEHOLDER = re.compile(r"\{(serial|device_id)\}")
DENIED_STATES = {
    DeviceState.DISABLED: RefusalReason.DEVICE_DISABLED,
    DeviceState.REJECTED: RefusalReason.DEVICE_REJECTED,
}


def plan_issue(
    request: IssueRequest, device: Device | None, keys: Sequence[HeldKey], *, now: int, new_device_id: str
) -> Plan[IssueResult]:
    """Decide an accepted registration.

    Args:
        request: the proven serial, the credential created for it, and the fleet's policy.
        device: the serial's device; None if there is none yet.
        keys: its active keys, oldest first.
        now: milliseconds since 1970.
        new_device_id: the id to use if this creates a device.

    Raises:
        TooManyLabelsError: the new device would have too many tags or attributes.
    """
    is_new = device is None
    if device is None:
        device = _new_device(request, now, new_device_id)
    policy = _Policy.of(device, request)
    live = [key for key in keys if key.is_live(now)]
    result = _decide(request, device, policy, live, created=is_new)
    writes: list[Write] = []
    changes: list[NewChange] = []
    if is_new:
        writes.append(InsertDevice(device=device))
        changes += _creation(device)
    if isinstance(result, KeyIssued):
        issued, told = _issue(request, device, policy, live, now)
        writes += issued
        changes += told
    audit = _audit_entry(request, device, policy, result) if _is_audited(request, result, created=is_new) else None
    return Plan(result=result, writes=tuple(writes), changes=tuple(changes), audit=audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """The policy for one registration: the device's own, completed by the fleet's."""

    reregistration: Reregistration
    grace_seconds: int
    max_keys: int
    key_lifetime_seconds: int
    topics: tuple[str, ...]

    @classmethod
    def of(cls, device: Device, request: IssueRequest) -> _Policy:
        own = device.policy
        return cls(
            reregistration=own.reregistration or request.reregistration,
            grace_seconds=request.grace_seconds if own.grace_seconds is None else own.grace_seconds,
            max_keys=own.max_keys or request.max_keys,
            key_lifetime_seconds=(
                request.key_lifetime_seconds if own.key_lifetime_seconds is None else own.key_lifetime_seconds
            ),
            topics=(own.publish or request.publish) + (own.subscribe or request.subscribe),
        )


def _new_device(request: IssueRequest, now: int, device_id: str) -> Device:
    check_label_count(device_id, "tags", request.tags)
    check_label_count(device_id, "attributes", request.attributes)
    name = NAME_PLACEHOLDER.sub(lambda found: request.serial if found[1] == "serial" else device_id, request.name)
    return Device(
        device_id=device_id,
        serial=request.serial,
        state=DeviceState.PENDING if request.require_approval else DeviceState.ACTIVE,
        name=name[:MAX_LABEL_CHARACTERS],
        tags=dict(request.tags),
        attributes=dict(request.attributes),
        profile=request.profile,
        policy=request.policy,
        created_at=now,
        updated_at=now,
    )


def _creation(device: Device) -> list[NewChange]:
    kinds = [ChangeKind.DEVICE_CREATED]
    if device.state is DeviceState.PENDING:
        kinds.append(ChangeKind.DEVICE_PENDING)
    if device.tags:
        # Application keys that select by these tags gain access to the device.
        kinds.append(ChangeKind.DEVICE_TAGGED)
    return [NewChange(kind=kind, device_id=device.device_id) for kind in kinds]


def _decide(
    request: IssueRequest, device: Device, policy: _Policy, live: Sequence[HeldKey], *, created: bool
) -> IssueResult:
    if reason := DENIED_STATES.get(device.state):
        return IssueDenied(device=device, reason=reason)
    if device.state is DeviceState.PENDING:
        return IssuePending(device=device)
    # A key that an operator is rotating doesn't prevent its device from registering.
    if policy.reregistration is Reregistration.DENY and any(key.rotated_at is None for key in live):
        return IssueDenied(device=device, reason=RefusalReason.ALREADY_REGISTERED)
    return KeyIssued(device=device, created=created)


def _issue(
    request: IssueRequest, device: Device, policy: _Policy, live: Sequence[HeldKey], now: int
) -> tuple[list[Write], list[NewChange]]:
    """Return the writes for issuing the key, and the changes for the feed."""
    device_id, lifetime = device.device_id, policy.key_lifetime_seconds
    writes: list[Write] = []
    changes: list[NewChange] = []
    rotates = policy.reregistration is Reregistration.ROTATE
    if rotates:
        ends = now + policy.grace_seconds * 1000
        ending = tuple(key.key for key in live if key.expires_at is None or key.expires_at > ends)
        if ending:
            writes.append(EndKeys(keys=ending, expires_at=ends))
            changes += [NewChange(kind=ChangeKind.KEY_EXPIRING, device_id=device_id, key=key) for key in ending]
        live = [replace(key, expires_at=ends) if key.key in ending else key for key in live]
    writes.append(
        InsertKey(
            key=request.key,
            secret_hash=request.secret_hash,
            device_id=device_id,
            # With `deny`, any remaining older keys are those that an operator is rotating.
            replaces_older=policy.reregistration is not Reregistration.ADD,
            created_at=now,
            expires_at=now + lifetime * 1000 if lifetime else None,
        )
    )
    changes.append(NewChange(kind=ChangeKind.KEY_ISSUED, device_id=device_id, key=request.key))
    surplus = _surplus([key for key in live if key.is_live(now)], policy.max_keys, spares_used=rotates)
    if surplus:
        writes.append(RetireKeys(keys=surplus, reason=RetiredReason.TOO_MANY_KEYS, at=now))
        changes += [NewChange(kind=ChangeKind.KEY_RETIRED, device_id=device_id, key=key) for key in surplus]
    return writes, changes


def _surplus(older: Sequence[HeldKey], max_keys: int, *, spares_used: bool) -> tuple[str, ...]:
    """Return the older keys that must be retired to make room for a new one.

    Keys that never connected go first, so that repeated registrations can't displace the key in use. With
    `spares_used` (`rotate`), that key stays: it expires when a newer one connects or after its grace period.
    """
    count = max(len(older) + 1 - max_keys, 0)
    unused = [key.key for key in older if key.first_connected_at is None]
    used = [] if spares_used else [key.key for key in older if key.first_connected_at is not None]
    return tuple((unused + used)[:count])


def _is_audited(request: IssueRequest, result: IssueResult, *, created: bool) -> bool:
    match result:
        case KeyIssued():
            return True
        case IssueDenied():
            return request.audit_denial
        case IssuePending():
            # A device that asks again while waiting changes nothing.
            return created


def _audit_entry(request: IssueRequest, device: Device, policy: _Policy, result: IssueResult) -> AuditEntry:
    match result:
        case IssueDenied(reason=reason):
            outcome, parts = "refused", [reason.value]
        case IssuePending():
            outcome, parts = "pending", []
        case KeyIssued(created=created):
            outcome, parts = "ok", ["created" if created else "known"]
    missing = missing_tags_text(policy.topics, device.tags)
    if missing and outcome != "refused":
        # It may register, but not connect until it is tagged.
        parts.append(f"missing_tag={missing}")
    return AuditEntry(
        actor="device",
        action="register",
        outcome=outcome,
        reason=" ".join(parts),
        address=request.address,
        serial=request.serial,
        device_id=device.device_id,
        key=request.key if isinstance(result, KeyIssued) else None,
    )
