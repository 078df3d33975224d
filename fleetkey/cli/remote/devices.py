"""The devices of a remote server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.cli.remote.client import segment
from fleetkey.management import MAX_EXAMPLES, MAX_PAGE, BulkChange
from fleetkey.management.schemas import (
    BulkAction,
    BulkAnswer,
    BulkBody,
    BulkDevice,
    CountAnswer,
    DeviceAnswer,
    DeviceBody,
    DevicePage,
    TagsBody,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management import Decision, DeviceFilter, DeviceSelection

__all__ = ["RemoteDevices"]


class RemoteDevices:
    """What `DeviceService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def get(self, device_id: str) -> DeviceAnswer:
        """Return one device."""
        return self._client.ask("GET", _path(device_id), DeviceAnswer)

    def iterate(self, wanted: DeviceFilter, *, limit: int | None = None) -> Iterator[DeviceAnswer]:
        """Yield all devices that match, or up to `limit`, a page at a time."""
        query, left = _query(wanted), limit
        while left is None or left > 0:
            query["limit"] = MAX_PAGE if left is None else min(left, MAX_PAGE)
            page = self._client.ask("GET", "devices", DevicePage, query=query)
            yield from page.items
            left = None if left is None else left - len(page.items)
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def count(self, wanted: DeviceFilter, *, cursor: str | None = None) -> CountAnswer:
        """Count the devices that match, or some of them: there may be a cursor to count on from."""
        return self._client.ask("GET", "devices/count", CountAnswer, query={**_query(wanted), "cursor": cursor})

    def decide(self, decision: Decision, device_id: str, *, actor: str) -> DeviceAnswer:
        """Approve, reject, disable or enable one device."""
        return self._client.ask("POST", f"{_path(device_id)}/{decision.path}", DeviceAnswer)

    def change_many(self, change: BulkAction | BulkChange, selection: DeviceSelection, *, actor: str) -> BulkAnswer:
        """Change devices that are named, or that match, in as many requests as it takes."""
        if isinstance(change, BulkAction):
            change = BulkChange(action=change)
        body = BulkBody(
            action=change.action,
            set_tags=dict(change.set_tags),
            grace_seconds=change.grace_seconds,
            dry_run=change.is_dry_run,
            device_ids=list(selection.device_ids),
            tags=dict(selection.tags),
            attributes=dict(selection.attributes),
            serial_pattern=selection.serial_pattern,
        )
        changed = unchanged = 0
        devices: list[BulkDevice] = []
        while True:
            answer = self._client.ask("POST", "devices/bulk", BulkAnswer, body=body)
            changed, unchanged = changed + answer.changed, unchanged + answer.unchanged
            # Only a selection that takes one request has devices of several outcomes.
            devices = [*devices, *answer.devices][:MAX_EXAMPLES] if devices else answer.devices
            if answer.next_cursor is None:
                return BulkAnswer(
                    changed=changed, unchanged=unchanged, refused=answer.refused, devices=devices, next_cursor=None
                )
            body.cursor = answer.next_cursor

    def delete(self, device_id: str, *, actor: str) -> None:
        """Delete a device."""
        self._client.ask("DELETE", _path(device_id), type(None))

    def tag(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> DeviceAnswer:
        """Set tags; None removes one."""
        return self._client.ask("PATCH", f"{_path(device_id)}/tags", DeviceAnswer, body=TagsBody(tags=dict(tags)))

    def describe(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> DeviceAnswer:
        """Set a device's name and attributes."""
        body = DeviceBody(name=name, attributes=dict(attributes or {}))
        return self._client.ask("PATCH", _path(device_id), DeviceAnswer, body=body)


def _query(wanted: DeviceFilter) -> dict[str, Any]:
    return {
        "state": wanted.state,
        "tag": [f"{name}={value}" for name, value in wanted.tags.items()] or None,
        "attribute": [f"{name}={value}" for name, value in wanted.attributes.items()] or None,
        "serial": wanted.serial,
        "serial_pattern": wanted.serial_pattern,
        "online": None if wanted.online is None else str(wanted.online).lower(),
        "sort": wanted.sort,
    }


def _path(device_id: str) -> str:
    return f"devices/{segment('device', device_id)}"
