"""Changes to a device's name, tags and attributes, and the limits on their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config.labels import MAX_LABELS
from fleetkey.registry.errors import TooManyLabelsError
from fleetkey.registry.model import AuditEntry, ChangeKind
from fleetkey.registry.plans.plan import NewChange, Plan, UpdateDevice
from fleetkey.registry.plans.reasons import joined, labels_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import Device

__all__ = ["changes_tags", "check_label_count", "plan_description", "plan_tags"]


def changes_tags(device: Device, tags: Mapping[str, str | None]) -> bool:
    """Whether setting these tags would change anything."""
    return any(device.tags.get(name) != value for name, value in tags.items())


def plan_tags(device: Device, tags: Mapping[str, str | None], *, actor: str, now: int) -> Plan[None]:
    """Decide a change of tags.

    Args:
        device: the device as it is.
        tags: the tags to set; None removes one.
        actor: who changes them.
        now: milliseconds since 1970.

    Raises:
        TooManyLabelsError: it would have too many tags.
    """
    _check_added(device.device_id, "tags", device.tags, tags)
    return Plan(
        result=None,
        writes=(UpdateDevice(device_id=device.device_id, at=now, tags=tags),),
        changes=(NewChange(kind=ChangeKind.DEVICE_TAGGED, device_id=device.device_id),),
        audit=_audit_entry(device, ChangeKind.DEVICE_TAGGED, actor, joined(labels_reason(tags))),
    )


def plan_description(
    device: Device, name: str | None, attributes: Mapping[str, str | None], *, actor: str, now: int
) -> Plan[None]:
    """Decide a change of name and attributes.

    Args:
        device: the device as it is.
        name: its new name; None leaves it as it is, empty removes it.
        attributes: the attributes to set; None removes one.
        actor: who changes them.
        now: milliseconds since 1970.

    Raises:
        TooManyLabelsError: it would have too many attributes.
    """
    _check_added(device.device_id, "attributes", device.attributes, attributes)
    named = {} if name is None else {"name": name or None}
    changed = [*labels_reason(named), *labels_reason(attributes, "attribute:")]
    return Plan(
        result=None,
        writes=(UpdateDevice(device_id=device.device_id, at=now, name=name, attributes=attributes),),
        changes=(NewChange(kind=ChangeKind.DEVICE_DESCRIBED, device_id=device.device_id),),
        audit=_audit_entry(device, ChangeKind.DEVICE_DESCRIBED, actor, joined(changed)),
    )


def check_label_count(device_id: str, what: str, labels: Mapping[str, str | None]) -> None:
    """Refuse too many tags or attributes. Raises `TooManyLabelsError`.

    Args:
        device_id: the device.
        what: `tags` or `attributes`.
        labels: all that the device would have.
    """
    if len(labels) > MAX_LABELS:
        raise TooManyLabelsError(device_id, what, MAX_LABELS)


def _check_added(device_id: str, what: str, labels: Mapping[str, str], changed: Mapping[str, str | None]) -> None:
    # Removing is always possible, even for a device that already has too many.
    if any(value is not None for value in changed.values()):
        after = {name: value for name, value in {**labels, **changed}.items() if value is not None}
        check_label_count(device_id, what, after)


def _audit_entry(device: Device, action: ChangeKind, actor: str, reason: str) -> AuditEntry:
    return AuditEntry(
        actor=actor, action=action, outcome="ok", reason=reason, serial=device.serial, device_id=device.device_id
    )
