"""Devices as operators see and change them, one at a time or many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.config import PatternError, SerialPattern
from fleetkey.config.labels import LabelError, check_labels, check_name
from fleetkey.management.errors import ConflictError, InvalidRequestError
from fleetkey.management.pages import BulkResult, Page, check_limit
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleetkey.registry import Device, Store

__all__ = ["DeviceFilter", "DeviceSelection", "DeviceService"]

BULK_CHUNK = 200
"""Devices that are changed in one transaction: a bulk change must not keep registrations waiting."""
MAX_SCANNED = 5000
"""Devices that are held against a serial pattern for one page."""
MAX_SELECTED_IDS = 10_000
"""Ids in one selection."""
PAGE = 500
WAITING = frozenset({DeviceState.PENDING})
NOT_IN_YET = frozenset({DeviceState.PENDING, DeviceState.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFilter:
    """Which devices; everything that is given must match.

    Args:
        state: only devices in this state.
        tags: names to values; all must match.
        attributes: the same for attributes.
        serial_pattern: a pattern for the whole serial (`docs/reference/patterns.md`).
        online: only devices that are connected (True), or aren't (False).
    """

    state: DeviceState | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
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
        pattern = _pattern(wanted.serial_pattern)
        found: list[Device] = []
        after, scanned = cursor or "", 0
        while True:
            size = limit - len(found) if pattern is None else min(PAGE, MAX_SCANNED - scanned)
            devices = self._store.list_devices(
                after=after,
                limit=size,
                state=wanted.state,
                tags=wanted.tags,
                attributes=wanted.attributes,
                online=wanted.online,
            )
            for device in devices:
                after = device.device_id
                if pattern is None or pattern.matches(device.serial):
                    found.append(device)
                if len(found) == limit:
                    return Page(items=tuple(found), next_cursor=after)
            scanned += len(devices)
            if len(devices) < size:
                return Page(items=tuple(found), next_cursor=None)
            if scanned >= MAX_SCANNED:
                return Page(items=tuple(found), next_cursor=after)

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

    def approve_many(self, selection: DeviceSelection, *, actor: str) -> BulkResult:
        """Approve devices: those named, pending or rejected, or all pending ones that match."""
        return self._decide_many(selection, DeviceState.ACTIVE, refused=frozenset({DeviceState.DISABLED}), actor=actor)

    def reject_many(self, selection: DeviceSelection, *, actor: str) -> BulkResult:
        """Reject devices: those named, or all pending ones that match."""
        refused = frozenset({DeviceState.ACTIVE, DeviceState.DISABLED})
        return self._decide_many(selection, DeviceState.REJECTED, refused=refused, actor=actor)

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

    def _decide_many(
        self, selection: DeviceSelection, state: DeviceState, *, refused: frozenset[DeviceState], actor: str
    ) -> BulkResult:
        matching = bool(selection.tags or selection.attributes or selection.serial_pattern)
        if matching == bool(selection.device_ids):
            raise InvalidRequestError(
                "device_ids", "name devices by id, or say which by tag, attribute or serial pattern"
            )
        if matching:
            return self._decide_matching(selection, state, actor)
        ids = list(dict.fromkeys(selection.device_ids))
        if len(ids) > MAX_SELECTED_IDS:
            raise InvalidRequestError("device_ids", f"{len(ids)} ids; at most {MAX_SELECTED_IDS} at once")
        # All of them are looked at before the first is changed.
        for device in map(self._store.get_device, ids):
            if device.state in refused:
                msg = f"device {device.device_id} is {device.state}; nothing was changed"
                raise ConflictError(msg)
        expected = NOT_IN_YET - {state}
        changed = sum(
            self._store.set_device_states(ids[start : start + BULK_CHUNK], state, expected=expected, actor=actor)
            for start in range(0, len(ids), BULK_CHUNK)
        )
        return BulkResult(changed=changed, unchanged=len(ids) - changed)

    def _decide_matching(self, selection: DeviceSelection, state: DeviceState, actor: str) -> BulkResult:
        wanted = DeviceFilter(
            state=DeviceState.PENDING,
            tags=selection.tags,
            attributes=selection.attributes,
            serial_pattern=selection.serial_pattern,
        )
        changed = seen = 0
        cursor: str | None = None
        while True:
            page = self.page(wanted, cursor=cursor, limit=BULK_CHUNK)
            ids = [device.device_id for device in page.items]
            seen += len(ids)
            if ids:
                changed += self._store.set_device_states(ids, state, expected=WAITING, actor=actor)
            cursor = page.next_cursor
            if cursor is None:
                return BulkResult(changed=changed, unchanged=seen - changed)


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
