"""Devices as operators see and change them, one at a time or many."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.config import PatternError, SerialPattern
from fleetkey.config.labels import LabelError, check_labels, check_name
from fleetkey.management.errors import ConflictError, InvalidRequestError
from fleetkey.management.pages import BulkResult, Page, check_limit, parse_device_cursor
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleetkey.registry import Device, Store

__all__ = ["BulkAction", "DeviceFilter", "DeviceSelection", "DeviceService"]

BULK_CHUNK = 200
"""Devices that are changed in one transaction: a bulk change must not keep registrations waiting."""
MAX_SCANNED = 2000
"""Devices that are looked at for one page; the page may be short then."""
MAX_SELECTED_IDS = 10_000
"""Ids in one selection."""
PAGE = 500
WAITING = frozenset({DeviceState.PENDING})
NOT_IN_YET = frozenset({DeviceState.PENDING, DeviceState.REJECTED})


class BulkAction(StrEnum):
    """What can be done with many devices at once."""

    APPROVE = "approve"
    REJECT = "reject"
    DISABLE = "disable"
    ENABLE = "enable"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bulk:
    state: DeviceState
    """That devices get."""
    refused: frozenset[DeviceState]
    """States of named devices that it doesn't go with."""
    matching: DeviceState | None
    """State that is looked for, when a filter says which devices."""
    expected: frozenset[DeviceState]
    """States of devices that match which are changed."""


_BULK = {
    BulkAction.APPROVE: _Bulk(
        state=DeviceState.ACTIVE,
        refused=frozenset({DeviceState.DISABLED}),
        matching=DeviceState.PENDING,
        expected=WAITING,
    ),
    BulkAction.REJECT: _Bulk(
        state=DeviceState.REJECTED,
        refused=frozenset({DeviceState.ACTIVE, DeviceState.DISABLED}),
        matching=DeviceState.PENDING,
        expected=WAITING,
    ),
    BulkAction.DISABLE: _Bulk(
        state=DeviceState.DISABLED,
        refused=frozenset(),
        matching=None,
        expected=frozenset({DeviceState.ACTIVE, DeviceState.PENDING}),
    ),
    BulkAction.ENABLE: _Bulk(
        state=DeviceState.ACTIVE,
        refused=NOT_IN_YET,
        matching=DeviceState.DISABLED,
        expected=frozenset({DeviceState.DISABLED}),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFilter:
    """Which devices; everything that is given must match.

    Args:
        state: only devices in this state.
        tags: names to values; all must match.
        attributes: the same for attributes.
        serial: only the device with this serial.
        serial_pattern: a pattern for the whole serial (`docs/reference/patterns.md`).
        online: only devices that are connected (True), or aren't (False).
    """

    state: DeviceState | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    serial: str | None = None
    serial_pattern: str | None = None
    online: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSelection:
    """What a change to many is about: the devices named by id, or those that a filter finds."""

    device_ids: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    serial_pattern: str | None = None


class DeviceService:
    """Lists and changes devices. Every method blocks; every change is audited in its own transaction.

    Errors of every method: `NotFoundError` for an id that doesn't exist, `InvalidRequestError` for a value that can't
    be one, `ConflictError` for a device in another state, and `StoreError`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, device_id: str) -> Device:
        """Return one device."""
        return self._store.get_device(device_id)

    def page(self, wanted: DeviceFilter, *, cursor: str | None = None, limit: int = 100) -> Page[Device]:
        """Return a page of devices in order of id, beginning after a cursor that an earlier page gave."""
        check_limit(limit)
        after = parse_device_cursor(cursor)
        pattern = _pattern(wanted.serial_pattern)
        if wanted.serial is not None:
            return self._page_of_serial(wanted, pattern, after)
        conditions = (wanted.state is not None) + len(wanted.tags) + len(wanted.attributes) + bool(wanted.online)
        if pattern is None and conditions <= 1 and wanted.online is not False:
            # One index has just these, in order.
            found = self._store.list_devices(
                after=after,
                limit=limit,
                state=wanted.state,
                tags=wanted.tags,
                attributes=wanted.attributes,
                online=wanted.online,
            )
            return Page(items=tuple(found), next_cursor=found[-1].device_id if len(found) == limit else None)
        scan = self._store.scan_devices(
            after=after,
            limit=limit,
            max_scanned=MAX_SCANNED,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if pattern is None else pattern.matches,
        )
        return Page(items=scan.devices, next_cursor=scan.reached)

    def _page_of_serial(self, wanted: DeviceFilter, pattern: SerialPattern | None, after: str) -> Page[Device]:
        device = self._store.find_device(wanted.serial or "")
        is_wanted = (
            device is not None
            and device.device_id > after
            and wanted.state in {None, device.state}
            and wanted.online in {None, device.presence.is_online}
            and wanted.tags.items() <= device.tags.items()
            and wanted.attributes.items() <= device.attributes.items()
            and (pattern is None or pattern.matches(device.serial))
        )
        return Page(items=(device,) if device is not None and is_wanted else (), next_cursor=None)

    def iterate(self, wanted: DeviceFilter) -> Iterator[Device]:
        """Yield all devices that match, in order of id, in bounded memory."""
        cursor: str | None = None
        while True:
            page = self.page(wanted, cursor=cursor, limit=PAGE)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def approve(self, device_id: str, *, actor: str) -> Device:
        """Let a pending or rejected device have credentials the next time it registers; an active one stays."""
        device = self._store.get_device(device_id)
        if device.state is DeviceState.DISABLED:
            msg = f"device {device_id} is disabled, not pending; see: fleetkey devices enable {device_id}"
            raise ConflictError(msg)
        return self._decide(device_id, DeviceState.ACTIVE, NOT_IN_YET, actor)

    def reject(self, device_id: str, *, actor: str) -> Device:
        """Refuse a pending device; its serial can't register until it is approved after all, or deleted."""
        device = self._store.get_device(device_id)
        if device.state not in NOT_IN_YET:
            msg = f"device {device_id} is {device.state}, not pending; see: fleetkey devices disable {device_id}"
            raise ConflictError(msg)
        return self._decide(device_id, DeviceState.REJECTED, WAITING, actor)

    def change_many(
        self,
        action: BulkAction,
        selection: DeviceSelection,
        *,
        actor: str,
        cursor: str | None = None,
        max_pages: int | None = None,
    ) -> BulkResult:
        """Approve, reject, disable or enable devices: those named, or those that match.

        Named devices are all looked at before the first is changed. Of those that match, approving and rejecting take
        the pending ones, enabling the disabled ones, disabling the active and pending ones.

        Args:
            action: what to do.
            selection: with which devices.
            actor: who does it.
            cursor: where an earlier call stopped, which `max_pages` made short.
            max_pages: of `BULK_CHUNK` devices each; None = all that match.
        """
        matching = bool(selection.tags or selection.attributes or selection.serial_pattern)
        if matching == bool(selection.device_ids):
            raise InvalidRequestError(
                "device_ids", "name devices by id, or say which by tag, attribute or serial pattern"
            )
        if matching:
            return self._change_matching(_BULK[action], selection, actor, cursor, max_pages)
        if cursor is not None:
            raise InvalidRequestError("cursor", "devices that are named by id are changed at once; leave it out")
        return self._change_named(_BULK[action], list(dict.fromkeys(selection.device_ids)), actor)

    def disable(self, device_id: str, *, actor: str) -> Device:
        """Disconnect a device within a second and keep it out; it can't register its way back."""
        return self._store.set_device_state(device_id, DeviceState.DISABLED, actor=actor)

    def enable(self, device_id: str, *, actor: str) -> Device:
        """Let a disabled device in again, with the keys it had."""
        device = self._store.get_device(device_id)
        if device.state in NOT_IN_YET:
            msg = f"device {device_id} is {device.state}; see: fleetkey devices approve {device_id}"
            raise ConflictError(msg)
        return self._decide(device_id, DeviceState.ACTIVE, frozenset({DeviceState.DISABLED}), actor)

    def delete(self, device_id: str, *, actor: str) -> None:
        """Forget a device and retire its keys; its serial may register as a new device."""
        self._store.delete_device(device_id, actor=actor)

    def tag(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away."""
        _check_changes(tags, "tag")
        return self._store.tag_device(device_id, tags, actor=actor)

    def describe(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> Device:
        """Set a device's name (empty = none) and attributes; None as an attribute's value takes it away."""
        try:
            check_name(name or "")
        except LabelError as error:
            raise InvalidRequestError("name", str(error)) from None
        _check_changes(attributes or {}, "attribute")
        return self._store.describe_device(device_id, name=name, attributes=attributes, actor=actor)

    def _decide(self, device_id: str, state: DeviceState, expected: frozenset[DeviceState], actor: str) -> Device:
        """Change a state that was looked at; someone else's decision in between must not be undone by it."""
        self._store.set_device_states([device_id], state, expected=expected, actor=actor)
        device = self._store.get_device(device_id)
        if device.state is not state:
            msg = f"device {device_id} became {device.state} in the meantime; nothing was changed"
            raise ConflictError(msg)
        return device

    def _change_named(self, bulk: _Bulk, ids: Sequence[str], actor: str) -> BulkResult:
        if len(ids) > MAX_SELECTED_IDS:
            raise InvalidRequestError("device_ids", f"{len(ids)} ids; at most {MAX_SELECTED_IDS} at once")
        # All of them are looked at before the first is changed.
        for device in map(self._store.get_device, ids):
            if device.state in bulk.refused:
                msg = f"device {device.device_id} is {device.state}; nothing was changed"
                raise ConflictError(msg)
        expected = frozenset(DeviceState) - bulk.refused - {bulk.state}
        changed = sum(
            self._store.set_device_states(ids[start : start + BULK_CHUNK], bulk.state, expected=expected, actor=actor)
            for start in range(0, len(ids), BULK_CHUNK)
        )
        return BulkResult(changed=changed, unchanged=len(ids) - changed)

    def _change_matching(
        self, bulk: _Bulk, selection: DeviceSelection, actor: str, cursor: str | None, max_pages: int | None
    ) -> BulkResult:
        wanted = DeviceFilter(
            state=bulk.matching,
            tags=selection.tags,
            attributes=selection.attributes,
            serial_pattern=selection.serial_pattern,
        )
        changed = seen = pages = 0
        while True:
            page = self.page(wanted, cursor=cursor, limit=BULK_CHUNK)
            ids = [device.device_id for device in page.items if device.state in bulk.expected]
            seen += len(page.items)
            pages += 1
            if ids:
                changed += self._store.set_device_states(ids, bulk.state, expected=bulk.expected, actor=actor)
            cursor = page.next_cursor
            if cursor is None or pages == max_pages:
                return BulkResult(changed=changed, unchanged=seen - changed, next_cursor=cursor)


def _pattern(text: str | None) -> SerialPattern | None:
    if text is None:
        return None
    try:
        return SerialPattern(text)
    except PatternError as error:
        raise InvalidRequestError("serial_pattern", f"the serial pattern can't be used: {error}") from None


def _check_changes(labels: Mapping[str, str | None], what: str) -> None:
    try:
        check_labels({name: "-" if value is None else value for name, value in labels.items()}, what)
    except LabelError as error:
        raise InvalidRequestError(f"{what}s", str(error)) from None
