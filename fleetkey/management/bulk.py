"""Bulk changes to devices: those named, or those that match a filter, in chunks of one transaction each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.management.decisions import DECISIONS
from fleetkey.management.errors import ConflictError, InvalidRequestError
from fleetkey.management.filters import DeviceFilter
from fleetkey.management.keys import grace_of
from fleetkey.management.labels import check_label_changes
from fleetkey.management.schemas import BulkAction, BulkAnswer
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from fleetkey.management.filters import DeviceSelection
    from fleetkey.management.pages import Batch
    from fleetkey.registry import Device
    from fleetkey.registry.store import DeviceBatches, DeviceLookup, KeyBatches

    class BulkStore(DeviceLookup, DeviceBatches, KeyBatches, Protocol):
        """The parts of the registry that bulk changes use."""

    class Search(Protocol):
        """Finds devices a chunk at a time."""

        def __call__(self, wanted: DeviceFilter, *, cursor: str | None, limit: int) -> Batch[Device, str]:
            """Return a chunk, and the cursor of the next one."""
            ...


__all__ = ["BulkChange", "BulkChanges"]

BULK_CHUNK = 200
"""How many devices are changed in one transaction: a bulk change must not delay registrations."""
MAX_SELECTED_IDS = 10_000
"""Maximum number of ids in one selection."""
EVERY_STATE = frozenset(DeviceState)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChange:
    """A bulk action with its parameters.

    Args:
        action: what to do.
        set_tags: for `tag`, the tags to set; None removes one.
        grace_seconds: for `rotate`, how long keys keep working; None = as in each device's profile, or the settings.
    """

    action: BulkAction
    set_tags: Mapping[str, str | None] = field(default_factory=dict)
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    matching: DeviceState | None = None
    """The state to look for if the devices are selected by a filter."""
    expected: frozenset[DeviceState] = EVERY_STATE
    """The states in which matching devices are changed."""
    refused: frozenset[DeviceState] = frozenset()
    """The states in which a named device is a conflict."""
    expected_of_named: frozenset[DeviceState] = EVERY_STATE
    check: Callable[[Device], object] | None = None
    """Raises an error if a device can't be changed."""
    apply: Callable[[Sequence[Device], frozenset[DeviceState]], int]
    """Changes devices in one transaction, and returns how many were changed."""

    def check_all(self, devices: Sequence[Device]) -> None:
        if self.check is not None:
            for device in devices:
                self.check(device)


class BulkChanges:
    """Changes many devices. Blocks.

    Args:
        store: the registry.
        search: finds devices.
        check_tags: raises `ConflictError` if a device can't have these tags.
        grace_seconds: the default grace period.
    """

    def __init__(
        self,
        store: BulkStore,
        search: Search,
        *,
        check_tags: Callable[[Device, Mapping[str, str | None]], None],
        grace_seconds: int,
    ) -> None:
        self._store = store
        self._search = search
        self._check_tags = check_tags
        self._grace_seconds = grace_seconds

    def run(
        self,
        change: BulkChange,
        selection: DeviceSelection,
        *,
        actor: str,
        cursor: str | None = None,
        max_pages: int | None = None,
    ) -> BulkAnswer:
        """Carry out a bulk change; see `DeviceService.change_many`."""
        matching = bool(selection.tags or selection.attributes or selection.serial_pattern)
        if matching == bool(selection.device_ids):
            reason = "select devices by id, or by tag, attribute or serial pattern"
            raise InvalidRequestError("device_ids", f"{reason}, not both" if matching else reason)
        plan = self._plan(change, actor)
        if matching:
            return self._change_matching(plan, selection, cursor, max_pages)
        if cursor is not None:
            raise InvalidRequestError(
                "cursor", "devices selected by id are changed in one request; leave out the cursor"
            )
        return self._change_named(plan, list(dict.fromkeys(selection.device_ids)))

    def _plan(self, change: BulkChange, actor: str) -> _Plan:
        action, tags, grace_seconds = change.action, change.set_tags, change.grace_seconds
        if tags and action is not BulkAction.TAG:
            raise InvalidRequestError("set_tags", f"this is only for the action tag, not for {action}")
        if grace_seconds is not None and action is not BulkAction.ROTATE:
            raise InvalidRequestError("grace_seconds", f"this is only for the action rotate, not for {action}")
        match action:
            case BulkAction.TAG:
                if not tags:
                    raise InvalidRequestError("set_tags", "name the tags to set")
                check_label_changes(tags, "tag", field="set_tags")
                return _Plan(
                    check=lambda device: self._check_tags(device, tags),
                    apply=lambda devices, _: self._store.tag_devices(_ids(devices), tags, actor=actor),
                )
            case BulkAction.ROTATE:
                return _Plan(
                    check=lambda device: grace_of(grace_seconds, device, self._grace_seconds),
                    apply=lambda devices, _: self._store.expire_keys_of_devices(
                        {device.device_id: grace_of(grace_seconds, device, self._grace_seconds) for device in devices},
                        actor=actor,
                    ),
                )
            case BulkAction.DELETE:
                return _Plan(apply=lambda devices, _: self._store.delete_devices(_ids(devices), actor=actor))
            case BulkAction.APPROVE | BulkAction.REJECT | BulkAction.DISABLE | BulkAction.ENABLE:
                decision = DECISIONS[action]
                return _Plan(
                    matching=decision.matching,
                    expected=decision.expected,
                    refused=decision.refused,
                    expected_of_named=decision.expected_of_named,
                    apply=lambda devices, expected: self._store.set_device_states(
                        _ids(devices), decision.state, expected=expected, actor=actor
                    ),
                )

    def _change_named(self, plan: _Plan, ids: Sequence[str]) -> BulkAnswer:
        if len(ids) > MAX_SELECTED_IDS:
            raise InvalidRequestError("device_ids", f"{len(ids)} ids; at most {MAX_SELECTED_IDS} are allowed")
        # All of them are checked before any is changed.
        devices = list(map(self._store.get_device, ids))
        for device in devices:
            if device.state in plan.refused:
                msg = f"device {device.device_id} is {device.state}; nothing was changed"
                raise ConflictError(msg)
        plan.check_all(devices)
        changed = sum(
            plan.apply(devices[start : start + BULK_CHUNK], plan.expected_of_named)
            for start in range(0, len(devices), BULK_CHUNK)
        )
        return BulkAnswer(changed=changed, unchanged=len(devices) - changed, next_cursor=None)

    def _change_matching(
        self, plan: _Plan, selection: DeviceSelection, cursor: str | None, max_pages: int | None
    ) -> BulkAnswer:
        wanted = DeviceFilter(
            state=plan.matching,
            tags=selection.tags,
            attributes=selection.attributes,
            serial_pattern=selection.serial_pattern,
        )
        changed = seen = pages = 0
        while True:
            found = self._search(wanted, cursor=cursor, limit=BULK_CHUNK)
            devices = [device for device in found.items if device.state in plan.expected]
            seen += len(found.items)
            pages += 1
            plan.check_all(devices)
            if devices:
                changed += plan.apply(devices, plan.expected)
            cursor = found.reached
            if cursor is None or pages == max_pages:
                return BulkAnswer(changed=changed, unchanged=seen - changed, next_cursor=cursor)


def _ids(devices: Sequence[Device]) -> list[str]:
    return [device.device_id for device in devices]
