"""Bulk changes to devices: those named, or those that match a filter, in chunks of one transaction each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetkey.management.decisions import DECISIONS
from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.filters import DeviceFilter
from fleetkey.management.keys import grace_of
from fleetkey.management.labels import check_label_changes
from fleetkey.management.schemas import BulkAction, BulkAnswer, BulkDevice, BulkOutcome
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


__all__ = ["MAX_EXAMPLES", "BulkChange", "BulkChanges"]

BULK_CHUNK = 200
"""How many devices are changed in one transaction: a bulk change must not delay registrations."""
MAX_SELECTED_IDS = 10_000
"""Maximum number of ids in one selection."""
MAX_EXAMPLES = 10
"""How many devices of each outcome the result names."""
EVERY_STATE = frozenset(DeviceState)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChange:
    """A bulk action with its parameters.

    Args:
        action: what to do.
        set_tags: for `tag`, the tags to set; None removes one.
        grace_seconds: for `rotate`, how long keys keep working; None = as in each device's profile, or the settings.
        is_dry_run: change nothing, and say what would be changed.
    """

    action: BulkAction
    set_tags: Mapping[str, str | None] = field(default_factory=dict)
    grace_seconds: int | None = None
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    matching: DeviceState | None = None
    """The state to look for if the devices are selected by a filter."""
    expected: frozenset[DeviceState] = EVERY_STATE
    """The states in which matching devices are changed."""
    refused: frozenset[DeviceState] = frozenset()
    """The states in which a named device is refused."""
    expected_of_named: frozenset[DeviceState] = EVERY_STATE
    check: Callable[[Device], object] | None = None
    """Raises an error if a device can't be changed."""
    would_change: Callable[[Sequence[Device]], Sequence[Device]] = list
    """Returns those devices, of the expected states, that it would change."""
    apply: Callable[[Sequence[Device], frozenset[DeviceState]], int]
    """Changes devices in one transaction, and returns how many were changed."""
    is_dry_run: bool = False

    def check_all(self, devices: Sequence[Device]) -> None:
        if self.check is not None:
            for device in devices:
                self.check(device)

    def carry_out(self, devices: Sequence[Device], expected: frozenset[DeviceState]) -> tuple[int, Sequence[Device]]:
        """Return how many devices it changed; of a dry run, how many it would change, and which."""
        if not devices:
            return 0, ()
        if self.is_dry_run:
            changed = self.would_change(devices)
            return len(changed), changed
        return self.apply(devices, expected), ()


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
        plan = replace(self._plan(change, actor), is_dry_run=change.is_dry_run)
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
                    would_change=lambda devices: [device for device in devices if _differs(device.tags, tags)],
                    apply=lambda devices, _: self._store.tag_devices(_ids(devices), tags, actor=actor),
                )
            case BulkAction.ROTATE:
                return self._rotation(grace_seconds, actor)
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

    def _rotation(self, grace_seconds: int | None, actor: str) -> _Plan:
        def grace(device: Device) -> int:
            return grace_of(grace_seconds, device, self._grace_seconds)

        def would_change(devices: Sequence[Device]) -> list[Device]:
            found = self._store.devices_with_keys_to_expire({one.device_id: grace(one) for one in devices})
            return [device for device in devices if device.device_id in found]

        return _Plan(
            check=grace,
            would_change=would_change,
            apply=lambda devices, _: self._store.expire_keys_of_devices(
                {device.device_id: grace(device) for device in devices}, actor=actor
            ),
        )

    def _change_named(self, plan: _Plan, ids: Sequence[str]) -> BulkAnswer:
        if len(ids) > MAX_SELECTED_IDS:
            raise InvalidRequestError("device_ids", f"{len(ids)} ids; at most {MAX_SELECTED_IDS} are allowed")
        # All of them must exist, and can have these tags, before any is changed.
        devices = list(map(self._store.get_device, ids))
        plan.check_all(devices)
        refused = [device for device in devices if device.state in plan.refused]
        ready = [device for device in devices if device.state in plan.expected_of_named]
        as_they_are = [device for device in devices if device.state not in plan.refused | plan.expected_of_named]
        changed, would_change = 0, _Examples(BulkOutcome.CHANGED)
        for start in range(0, len(ready), BULK_CHUNK):
            number, which = plan.carry_out(ready[start : start + BULK_CHUNK], plan.expected_of_named)
            changed += number
            would_change.add(which)
        return BulkAnswer(
            changed=changed,
            unchanged=len(devices) - len(refused) - changed,
            refused=len(refused),
            devices=[
                *_Examples(BulkOutcome.REFUSED).add(refused),
                *_Examples(BulkOutcome.UNCHANGED).add(as_they_are),
                *would_change.found,
            ],
            next_cursor=None,
        )

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
        would_change = _Examples(BulkOutcome.CHANGED)
        while True:
            found = self._search(wanted, cursor=cursor, limit=BULK_CHUNK)
            devices = [device for device in found.items if device.state in plan.expected]
            seen += len(found.items)
            pages += 1
            plan.check_all(devices)
            number, which = plan.carry_out(devices, plan.expected)
            changed += number
            would_change.add(which)
            cursor = found.reached
            if cursor is None or pages == max_pages:
                return BulkAnswer(
                    changed=changed, unchanged=seen - changed, devices=would_change.found, next_cursor=cursor
                )


class _Examples:
    """The first `MAX_EXAMPLES` devices of an outcome."""

    def __init__(self, outcome: BulkOutcome) -> None:
        self._outcome = outcome
        self.found: list[BulkDevice] = []

    def add(self, devices: Sequence[Device]) -> list[BulkDevice]:
        """Take as many as there is room for; return what it has now."""
        for device in devices[: MAX_EXAMPLES - len(self.found)]:
            brief = BulkDevice(
                device_id=device.device_id, serial=device.serial, state=device.state, outcome=self._outcome
            )
            self.found.append(brief)
        return self.found


def _differs(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> bool:
    return any(tags.get(name) != value for name, value in changes.items())


def _ids(devices: Sequence[Device]) -> list[str]:
    return [device.device_id for device in devices]
