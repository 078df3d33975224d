"""Viewing and changing devices, one or many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config.labels import LabelError, check_name
from fleetkey.management.bulk import BulkChange, BulkChanges
from fleetkey.management.device_finder import DeviceFinder
from fleetkey.management.device_sorter import DeviceSorter, parse_place, place_cursor
from fleetkey.management.errors import ConflictError, InvalidRequestError
from fleetkey.management.labels import check_label_changes
from fleetkey.management.pages import Batch, EncodedPage, check_limit, fill_page, parse_device_cursor
from fleetkey.management.patterns import parse_serial_pattern
from fleetkey.management.scans import MAX_SCAN_SECONDS
from fleetkey.management.schemas import BulkAction, CountAnswer, DeviceAnswer
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    from fleetkey.management.decisions import Decision
    from fleetkey.management.filters import DeviceFilter, DeviceSelection
    from fleetkey.management.schemas import BulkAnswer
    from fleetkey.management.tag_rules import TagRules
    from fleetkey.registry import Device
    from fleetkey.registry.store import DeviceBatches, DeviceChanges, DeviceLookup, DeviceSearch, KeyBatches

    class DeviceStore(DeviceLookup, DeviceSearch, DeviceChanges, DeviceBatches, KeyBatches, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["DeviceService"]

MAX_COUNTED = 100_000
"""How many devices are examined for one answer of a count, which may therefore have to be continued."""
PAGE = 500


class DeviceService:
    """Lists and changes devices. Every method blocks; every change is audited in its own transaction.

    Every method may raise `NotFoundError` for an unknown id, `InvalidRequestError` for an invalid value,
    `ConflictError` for a device in the wrong state, and `StoreError`.
    """

    def __init__(self, store: DeviceStore, *, tag_rules: TagRules, grace_seconds: int) -> None:
        self._store = store
        self._tag_rules = tag_rules
        self._bulk = BulkChanges(store, self._search, check_tags=tag_rules.check, grace_seconds=grace_seconds)

    def get(self, device_id: str) -> DeviceAnswer:
        """Return one device."""
        return DeviceAnswer.of(self._store.get_device(device_id))

    def page(self, wanted: DeviceFilter, *, cursor: str | None = None, limit: int = 100) -> EncodedPage[DeviceAnswer]:
        """Return a page of devices, ordered by id unless sorted, continuing from the cursor of an earlier page."""
        check_limit(limit)
        by = wanted.sort
        # One device needs no sorting.
        if by is None or wanted.serial is not None:
            return fill_page(
                DeviceFinder(self._store, wanted).read,
                start=parse_device_cursor(cursor),
                limit=limit,
                show=DeviceAnswer.of,
                position=lambda device: device.device_id,
                cursor=str,
            )
        return fill_page(
            DeviceSorter(self._store, wanted, by, limit=limit).read,
            start=parse_place(by, cursor),
            limit=limit,
            show=lambda found: DeviceAnswer.of(found[1]),
            position=lambda found: found[0],
            cursor=lambda place: place_cursor(by, place),
        )

    def count(self, wanted: DeviceFilter, *, cursor: str | None = None) -> CountAnswer:
        """Count the devices that match, or some of them: there may be a cursor to count on from."""
        if wanted.serial is not None:
            return CountAnswer(count=len(self._search(wanted, cursor=cursor, limit=1).items), next_cursor=None)
        pattern = parse_serial_pattern(wanted.serial_pattern)
        found = self._store.count_found(
            after=parse_device_cursor(cursor),
            max_scanned=MAX_COUNTED,
            state=wanted.state,
            tags=wanted.tags,
            attributes=wanted.attributes,
            online=wanted.online,
            matches=None if pattern is None else pattern.matches,
            max_seconds=MAX_SCAN_SECONDS,
        )
        return CountAnswer(count=found.count, next_cursor=found.reached)

    def _search(self, wanted: DeviceFilter, *, cursor: str | None, limit: int) -> Batch[Device, str]:
        return DeviceFinder(self._store, wanted).read(parse_device_cursor(cursor), limit)

    def iterate(self, wanted: DeviceFilter, *, limit: int | None = None) -> Iterator[DeviceAnswer]:
        """Yield all devices that match, or up to `limit`, in bounded memory."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            page = self.page(wanted, cursor=cursor, limit=PAGE if left is None else min(left, PAGE))
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
