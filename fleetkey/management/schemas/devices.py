"""The schemas of devices and of requests to change them."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from fleetkey.config.labels import MAX_LABELS
from fleetkey.management.schemas.times import Time, shown_time, when
from fleetkey.management.schemas.values import MAX_GRACE_SECONDS, DeviceId, Ids, Label, LabelChanges, Labels
from fleetkey.registry import NO_POLICY, DevicePolicy, DeviceState, Reregistration

if TYPE_CHECKING:
    from fleetkey.registry import Device

__all__ = [
    "BulkAction",
    "BulkAnswer",
    "BulkBody",
    "BulkDevice",
    "BulkOutcome",
    "CountAnswer",
    "DeviceAnswer",
    "DeviceBody",
    "DevicePage",
    "PolicyAnswer",
    "RotationAnswer",
    "RotationBody",
    "TagsBody",
]

GraceSeconds = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="How long keys keep working. Null or missing: as in the device's profile, or the settings.",
    ),
]


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The profile's values when the device was created. Values it didn't have are missing and follow the settings."""

    reregistration: Reregistration | msgspec.UnsetType = msgspec.UNSET
    grace_seconds: int | msgspec.UnsetType = msgspec.UNSET
    max_keys: int | msgspec.UnsetType = msgspec.UNSET
    key_lifetime_seconds: int | msgspec.UnsetType = msgspec.UNSET
    publish: list[str] | msgspec.UnsetType = msgspec.UNSET
    subscribe: list[str] | msgspec.UnsetType = msgspec.UNSET
    max_messages_per_second: int | msgspec.UnsetType = msgspec.UNSET
    max_bytes_per_second: int | msgspec.UnsetType = msgspec.UNSET


class DeviceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A device."""

    device_id: DeviceId
    serial: str
    state: DeviceState
    name: str
    tags: dict[str, str]
    attributes: dict[str, str]
    profile: str | None
    policy: PolicyAnswer
    online: bool
    last_seen_at: Time | None
    connected_at: Time | None
    disconnected_at: Time | None
    address: str
    disconnect_reason: str
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, device: Device) -> Self:
        """Return a device of the registry in this schema."""
        presence = device.presence
        return cls(
            device_id=device.device_id,
            serial=device.serial,
            state=device.state,
            name=device.name,
            tags=dict(device.tags),
            attributes=dict(device.attributes),
            profile=device.profile,
            policy=_policy(device.policy),
            online=presence.is_online,
            last_seen_at=when(presence.last_seen_at),
            connected_at=when(presence.connected_at),
            disconnected_at=when(presence.disconnected_at),
            address=presence.address,
            disconnect_reason=presence.reason,
            created_at=shown_time(device.created_at),
            updated_at=shown_time(device.updated_at),
        )


NO_POLICY_SHOWN = PolicyAnswer()


def _policy(policy: DevicePolicy) -> PolicyAnswer:
    if policy == NO_POLICY:
        return NO_POLICY_SHOWN
    said = {name: value for name, value in asdict(policy).items() if value not in (None, ())}
    return msgspec.convert(said, PolicyAnswer)


class DevicePage(msgspec.Struct):
    """Devices, ordered by id. A page may be short or empty and have a `next_cursor`; null: the list is complete."""

    items: list[DeviceAnswer]
    next_cursor: str | None


class CountAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices match. If there is a `next_cursor`, repeat the request with it and add the counts up."""

    count: int
    next_cursor: str | None


class DeviceBody(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a device. A name of null leaves it unchanged, an empty one removes it."""

    name: str | None = None
    attributes: LabelChanges = {}


class TagsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The tags to set."""

    tags: Annotated[dict[Label, Label | None], msgspec.Meta(min_length=1, max_length=MAX_LABELS)]


class BulkAction(StrEnum):
    """The bulk actions on devices."""

    APPROVE = "approve"
    REJECT = "reject"
    DISABLE = "disable"
    ENABLE = "enable"
    TAG = "tag"
    ROTATE = "rotate"
    DELETE = "delete"


class BulkBody(msgspec.Struct, forbid_unknown_fields=True):
    """A bulk action, and the devices to apply it to: those named, or those that match all given filters.

    `set_tags` is only for the action `tag`, `grace_seconds` only for `rotate`.
    """

    action: Annotated[BulkAction, msgspec.Meta(description="The action to apply to each.")]
    device_ids: Annotated[
        Ids,
        msgspec.Meta(description="Exactly these devices; not together with `tags`, `attributes` or `serial_pattern`."),
    ] = []
    tags: Annotated[Labels, msgspec.Meta(description="Only devices with all of these.")] = {}
    attributes: Annotated[Labels, msgspec.Meta(description="Only devices with all of these.")] = {}
    serial_pattern: Annotated[str | None, msgspec.Meta(description="A pattern for the whole serial.")] = None
    set_tags: Annotated[LabelChanges, msgspec.Meta(description="For `tag`; null removes a tag.")] = {}
    grace_seconds: GraceSeconds | None = None
    dry_run: Annotated[
        bool, msgspec.Meta(description="Change nothing; the response says what would be changed, with examples.")
    ] = False
    cursor: Annotated[
        str | None,
        msgspec.Meta(description="The `next_cursor` of an earlier response; not together with `device_ids`."),
    ] = None


class BulkOutcome(StrEnum):
    """What a bulk change does to a device."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class BulkDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device in the result of a bulk change, with its state before."""

    device_id: DeviceId
    serial: str
    state: DeviceState
    outcome: BulkOutcome


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a bulk change. If there is a `next_cursor`, repeat the request with it.

    `refused` counts named devices that are in a state in which the action isn't possible. `devices` has the first ten
    of each outcome: refused; unchanged, if they were named; and, of a dry run, those that would be changed.
    """

    changed: int
    unchanged: int
    refused: int = 0
    devices: list[BulkDevice] = []
    next_cursor: str | None


class RotationBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long a device's keys keep working. Null: as in its profile, or the settings."""

    grace_seconds: GraceSeconds | None = None


class RotationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a rotation: how many keys expire after the grace period, and how many expire sooner anyway."""

    device_id: DeviceId
    keys: int
    ending_sooner: int
    grace_seconds: int
