"""Viewing and changing devices, one or many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config.labels import LabelError, check_name
from fleetkey.management.bulk import BulkChange, BulkChanges
from fleetkey.management.errors import ConflictError, InvalidRequestError
from fleetkey.management.labels import check_label_changes
from fleetkey.management.pages import MAX_PAGE, MAX_SCAN_SECONDS, MAX_SCANNED, Page, check_limit, parse_device_cursor
from fleetkey.management.patterns import parse_serial_pattern
from fleetkey.management.schemas import BulkAction, CountAnswer, DeviceAnswer
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    from fleetkey.config import SerialPattern
    from fleetkey.management.decisions import Decision
    from fleetkey.management.filters import DeviceFilter, DeviceSelection
    from fleetkey.management.schemas import BulkAnswer
    from fleetkey.management.tag_rules import TagRules
    from fleetkey.registry import Device, DeviceOrder
    from fleetkey.registry.store import DeviceBatches, DeviceChanges, DeviceLookup, DeviceSearch, KeyBatches

    class DeviceStore(DeviceLookup, DeviceSearch, DeviceChanges, DeviceBatches, KeyBatches, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["DeviceService"]

MAX_COUNTED = 100_000
"""How many devices are examined for one answer of a count, which may therefore have to be continued."""
MAX_SORT_SECONDS = 3.0
"""How long sorting devices may take."""
PAGE = 500


class DeviceService:
    """Lists and changes devices. Every method blocks; every change is audited in its own transaction.

    Every method may raise `NotFoundError` for an unknown id, `InvalidRequestError` for an invalid value,
    `ConflictError` for a device in the wrong state, and `StoreError`.
    """

    def __init__(self, store: DeviceStore, *, tag_rules: TagRules, grace_seconds: int) -> None:
        self._store = store
        self._tag_rules = tag_rules
        self._bulk = BulkChanges(store, self._find, check_tags=tag_rules.check, grace_seconds=grace_seconds)

    def get(self, device_id: str) -> DeviceAnswer:
        """Return one device."""
        return DeviceAnswer.of(self._store.get_device(device_id))

    def page(self, wanted: DeviceFilter, *, cursor: str | None = None, limit: int = 100) -> Page[DeviceAnswer]:
        """Return a page of devices, ordered by id, continuing from the cursor of an earlier page.

        Sorted in another way, there is only one page: its size is `limit`.
        """
        if wanted.sort is not None:
            return self._sorted(wanted, wanted.sort, cursor=cursor, limit=limit)
        found = self._find(wanted, cursor=cursor, limit=limit)
        return Page(items=tuple(map(DeviceAnswer.of, found.items)), next_cursor=found.next_cursor)

    def count(self, wanted: DeviceFilter, *, cursor: str | None = None) -> CountAnswer:
        """Count the devices that match, or some of them: there may be a cursor to count on from."""
        pattern = parse_serial_pattern(wanted.serial_pattern)
        after = parse_device_cursor(cursor)
        if wanted.serial is not None:
            return CountAnswer(count=len(self._page_of_serial(wanted, pattern, after).items), next_cursor=None)
        found = self._store.count_found(
            after=after,
            max_scanned=MAX_COUNTED,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if pattern is None else pattern.matches,
            max_seconds=MAX_SCAN_SECONDS,
        )
        return CountAnswer(count=found.count, next_cursor=found.reached)

    def _sorted(self, wanted: DeviceFilter, by: DeviceOrder, *, cursor: str | None, limit: int) -> Page[DeviceAnswer]:
        check_limit(limit)
        if cursor is not None:
            raise InvalidRequestError("cursor", "a sorted list has one page; leave out the cursor")
        pattern = parse_serial_pattern(wanted.serial_pattern)
        if wanted.serial is not None:
            return Page(
                items=tuple(map(DeviceAnswer.of, self._page_of_serial(wanted, pattern, "").items)), next_cursor=None
            )
        found = self._store.sort_devices(
            by,
            limit=limit,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if pattern is None else pattern.matches,
            max_seconds=MAX_SORT_SECONDS,
        )
        if found is None:
            reason = f"sorting these devices takes longer than {MAX_SORT_SECONDS:.0f} s; leave out sort, or name a tag"
            raise InvalidRequestError("sort", reason)
        return Page(items=tuple(map(DeviceAnswer.of, found)), next_cursor=None)

    def _find(self, wanted: DeviceFilter, *, cursor: str | None, limit: int) -> Page[Device]:
        check_limit(limit)
        after = parse_device_cursor(cursor)
        pattern = parse_serial_pattern(wanted.serial_pattern)
        if wanted.serial is not None:
            return self._page_of_serial(wanted, pattern, after)
        conditions = (wanted.state is not None) + len(wanted.tags) + len(wanted.attributes) + bool(wanted.online)
        if pattern is None and conditions <= 1 and wanted.online is not False:
            # An index has exactly these, in order.
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
            max_seconds=MAX_SCAN_SECONDS,
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

    def iterate(self, wanted: DeviceFilter, *, limit: int | None = None) -> Iterator[DeviceAnswer]:
        """Yield all devices that match, or up to `limit`, in bounded memory.

        Sorted, at most `MAX_PAGE` are yielded.
        """
        left, most = limit, MAX_PAGE if wanted.sort else PAGE
        cursor: str | None = None
        while left is None or left > 0:
            page = self.page(wanted, cursor=cursor, limit=most if left is None else min(left, most))
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return

    def decide(self, decision: Decision, device_id: str, *, actor: str) -> DeviceAnswer:
        """Approve, reject, disable or enable a device. If it already has that state, nothing changes."""
        if not decision.refused:
            return DeviceAnswer.of(self._store.set_device_state(device_id, decision.state, actor=actor))
        device = self._store.get_device(device_id)
        if device.state in decision.refused:
            raise ConflictError(decision.instead.format(device_id=device_id, state=device.state))
        # A decision made concurrently by someone else must not be undone.
        expected = decision.expected_of_named
        self._store.set_device_states([device_id], decision.state, expected=expected, actor=actor)
        device = self._store.get_device(device_id)
        # A device that never had a key goes back to waiting for approval.
        waits_again = decision.action is BulkAction.ENABLE and device.state is DeviceState.PENDING
        if device.state is not decision.state and not waits_again:
            msg = f"device {device_id} became {device.state} in the meantime; nothing was changed"
            raise ConflictError(msg)
        return DeviceAnswer.of(device)

    def change_many(
        self,
        change: BulkAction | BulkChange,
        selection: DeviceSelection,
        *,
        actor: str,
        cursor: str | None = None,
        max_pages: int | None = None,
    ) -> BulkAnswer:
        """Change devices: those named, or those that match.

        Named devices must all exist before any is changed; those in the wrong state are counted as refused, and the
        others are changed. Of those that match, approving and rejecting change the pending ones, enabling the disabled
        ones, disabling the active and pending ones, and the other actions all. Devices changed before an error stay
        changed; repeating the call changes the rest.

        Args:
            change: what to do.
            selection: the devices to change.
            actor: who does it.
            cursor: where an earlier call stopped because of `max_pages`.
            max_pages: the maximum number of pages of `BULK_CHUNK` devices; None = no limit.
        """
        if isinstance(change, BulkAction):
            change = BulkChange(action=change)
        return self._bulk.run(change, selection, actor=actor, cursor=cursor, max_pages=max_pages)

    def delete(self, device_id: str, *, actor: str) -> None:
        """Delete a device and retire its keys; its serial may register as a new device."""
        self._store.delete_device(device_id, actor=actor)

    def tag(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> DeviceAnswer:
        """Set tags; None removes one.

        Raises:
            ConflictError: the device's topics could not be built from the new tags.
        """
        check_label_changes(tags, "tag", field="tags")
        self._tag_rules.check(self._store.get_device(device_id), tags)
        return DeviceAnswer.of(self._store.tag_device(device_id, tags, actor=actor))

    def describe(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> DeviceAnswer:
        """Set a device's name (empty = none) and attributes; an attribute that is None is removed."""
        try:
            check_name(name or "")
        except LabelError as error:
            raise InvalidRequestError("name", str(error)) from None
        check_label_changes(attributes or {}, "attribute", field="attributes")
        return DeviceAnswer.of(self._store.describe_device(device_id, name=name, attributes=attributes, actor=actor))
