"""What ends a key: the first connection of a newer one, rotation by an operator, revocation, or expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import AuditEntry, ChangeKind, KeysEnding, RetiredReason
from fleetkey.registry.plans.plan import EndKeys, MarkConnected, MarkRotated, NewChange, Plan, RetireKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.registry.model import AccessKey, Device
    from fleetkey.registry.plans.plan import HeldKey, Write

__all__ = ["plan_expiry", "plan_first_connection", "plan_operator_rotation", "plan_revocation"]


def plan_first_connection(
    key: str, keys: Sequence[HeldKey], *, device_id: str | None, serial: str | None, address: str, now: int
) -> Plan[bool]:
    """Decide what a key's first connection changes.

    The result is False, and nothing changes, if the key is no longer valid.

    Args:
        key: the key that connects.
        keys: the device's active keys, oldest first; for an application, only its key.
        device_id: the device; None for an application's key.
        serial: its serial; None for an application's key, or if the device is gone.
        address: where the connection comes from.
        now: milliseconds since 1970.
    """
    position = next((number for number, held in enumerate(keys) if held.key == key), None)
    if position is None or not keys[position].is_live(now):
        return Plan(result=False)
    connecting = keys[position]
    writes: list[Write] = []
    if connecting.first_connected_at is None:
        writes.append(MarkConnected(key=key, at=now))
    replaced = tuple(held.key for held in keys[:position]) if connecting.replaces_older else ()
    if replaced:
        writes.append(RetireKeys(keys=replaced, reason=RetiredReason.REPLACED, at=now))
    return Plan(
        result=True,
        writes=tuple(writes),
        changes=(
            *(NewChange(kind=ChangeKind.KEY_RETIRED, device_id=device_id, key=older) for older in replaced),
            NewChange(kind=ChangeKind.KEY_CONNECTED, device_id=device_id, key=key),
        ),
        audit=AuditEntry(
            actor="device" if device_id else "application",
            action=ChangeKind.KEY_CONNECTED,
            outcome="ok",
            reason=f"replaced={len(replaced)}",
            address=address,
            serial=serial,
            device_id=device_id,
            key=key,
        ),
    )


def plan_operator_rotation(
    device: Device, keys: Sequence[HeldKey], *, grace_seconds: int, actor: str, now: int
) -> Plan[KeysEnding]:
    """Decide an operator's rotation: the device's valid keys expire after the grace period, unless they expire sooner.

    Args:
        device: whose keys they are.
        keys: its active keys.
        grace_seconds: how long they keep working.
        actor: who rotates.
        now: milliseconds since 1970.
    """
    live = [key for key in keys if key.is_live(now)]
    ends = now + grace_seconds * 1000
    ending = tuple(key.key for key in live if key.expires_at is None or key.expires_at > ends)
    # Including those that expire sooner: under `deny`, they must no longer prevent the device from registering.
    rotated = tuple(key.key for key in live if key.rotated_at is None)
    result = KeysEnding(keys=len(ending), ending_sooner=len(live) - len(ending))
    writes: list[Write] = []
    if rotated:
        writes.append(MarkRotated(keys=rotated, at=now))
    if ending:
        writes.append(EndKeys(keys=ending, expires_at=ends))
    if not writes:
        return Plan(result=result)
    return Plan(
        result=result,
        writes=tuple(writes),
        changes=tuple(NewChange(kind=ChangeKind.KEY_EXPIRING, device_id=device.device_id, key=key) for key in ending),
        audit=AuditEntry(
            actor=actor,
            action="keys_rotated",
            outcome="ok",
            reason=f"keys={result.keys} ending_sooner={result.ending_sooner} grace_seconds={grace_seconds}",
            serial=device.serial,
            device_id=device.device_id,
        ),
    )


def plan_revocation(key: AccessKey, *, serial: str | None, actor: str, now: int) -> Plan[None]:
    """Decide a revocation; a key that is already retired stays as it is.

    Args:
        key: the key.
        serial: its device's; None for an application's key, or if the device is gone.
        actor: who revokes it.
        now: milliseconds since 1970.
    """
    if key.retired_at is not None:
        return Plan(result=None)
    return Plan(
        result=None,
        writes=(RetireKeys(keys=(key.key,), reason=RetiredReason.REVOKED, at=now),),
        changes=(NewChange(kind=ChangeKind.KEY_RETIRED, device_id=key.device_id, key=key.key),),
        audit=AuditEntry(
            actor=actor, action="key_revoked", outcome="ok", serial=serial, device_id=key.device_id, key=key.key
        ),
    )


def plan_expiry(key: str, *, device_id: str | None, serial: str | None, now: int) -> Plan[None]:
    """Decide what happens to an active key that has expired.

    Args:
        key: the key.
        device_id: its device; None for an application's key.
        serial: its device's; None for an application's key, or if the device is gone.
        now: milliseconds since 1970.
    """
    return Plan(
        result=None,
        writes=(RetireKeys(keys=(key,), reason=RetiredReason.EXPIRED, at=now),),
        changes=(NewChange(kind=ChangeKind.KEY_RETIRED, device_id=device_id, key=key),),
        audit=AuditEntry(
            actor="server", action="key_expired", outcome="ok", serial=serial, device_id=device_id, key=key
        ),
    )
