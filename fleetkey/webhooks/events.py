"""Events for webhooks, made from the change feed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fleetkey.registry import ChangeKind, NotFoundError, RetiredReason

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Protocol

    from fleetkey.registry import Change, Device
    from fleetkey.registry.store import ChangeReader, DeletedDevices, DeviceLookup, KeyLookup

    class EventStore(ChangeReader, DeviceLookup, KeyLookup, DeletedDevices, Protocol):
        """The feed, and the devices and keys that events describe."""


__all__ = ["Event", "EventReader", "Read", "trial_event"]

BATCH = 100
"""How many changes are read at once, which is also how many a failing webhook holds in memory."""
MAX_EVENT_BYTES = 64 * 1024
"""Maximum size of an event; a larger one is sent without the device's tags and attributes."""
OF_DEVICES = {
    ChangeKind.DEVICE_PENDING: "device.pending",
    ChangeKind.DEVICE_APPROVED: "device.approved",
    ChangeKind.DEVICE_REJECTED: "device.rejected",
    ChangeKind.DEVICE_DISABLED: "device.disabled",
    ChangeKind.DEVICE_ENABLED: "device.enabled",
    ChangeKind.DEVICE_DELETED: "device.deleted",
}
REGISTERED = "device.registered"
REVOKED, RETIRED = "key.revoked", "key.retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, as it is posted."""

    event_id: str
    """The same at each attempt, so that a receiver can recognize repeated events."""
    name: str
    at: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A part of the feed: each position with its event, or None for a change that makes no event."""

    missed: int
    """How many changes were deleted before they were read."""
    items: tuple[tuple[int, Event | None], ...]


class EventReader:
    """Reads events after a position. Blocks."""

    def __init__(self, store: EventStore, events: Collection[str]) -> None:
        self._store = store
        self._events = frozenset(events)

    def read(self, position: int) -> Read:
        """Return the events after a position, with devices as they are now. Raises `StoreError`."""
        changes = self._store.changes_after(position, limit=BATCH)
        # Positions have no gaps: missing ones at the start were deleted because of their age.
        missed = changes[0].seq - position - 1 if changes else 0
        return Read(missed=missed, items=tuple((change.seq, self._event(change)) for change in changes))

    def newest(self) -> int:
        """Return the position of the newest change. Raises `StoreError`."""
        return self._store.change_bounds()[1]

    def _event(self, change: Change) -> Event | None:
        reason: str | None = None
        name = OF_DEVICES.get(change.kind)
        if change.kind is ChangeKind.KEY_ISSUED and change.device_id is not None:
            name = REGISTERED
        elif change.kind is ChangeKind.KEY_RETIRED and change.key is not None and self._events & {REVOKED, RETIRED}:
            reason = self._store.get_key(change.key).retired_reason
            name = REVOKED if reason == RetiredReason.REVOKED else RETIRED
        if name not in self._events or name is None:
            return None
        device = self._device(change.device_id)
        fields: dict[str, Any] = {
            # A restored registry continues from the backup's position, so a position alone may occur twice.
            "id": f"{change.seq}-{change.at}",
            "event": name,
            "at": _when(change.at),
            "device_id": change.device_id,
            "serial": device["serial"] if device is not None else self._serial_of_gone(change.device_id),
            "key": change.key,
            "reason": reason,
            "device": device,
        }
        return Event(event_id=fields["id"], name=name, at=change.at, body=_encode(fields))

    def _device(self, device_id: str | None) -> dict[str, Any] | None:
        if device_id is None:
            return None
        try:
            return _device_fields(self._store.get_device(device_id))
        except NotFoundError:
            return None

    def _serial_of_gone(self, device_id: str | None) -> str | None:
        return None if device_id is None else self._store.deleted_serial(device_id)


def trial_event(now: float) -> Event:
    """Return the event `webhook.test`, with which operators test a webhook."""
    at = int(now * 1000)
    fields = {"id": f"test-{secrets.token_hex(6)}", "event": "webhook.test", "at": _when(at)}
    return Event(event_id=fields["id"], name=fields["event"], at=at, body=_encode(fields))


def _encode(fields: dict[str, Any]) -> bytes:
    body = msgspec.json.encode(fields)
    if len(body) > MAX_EVENT_BYTES:
        fields["device"] = {**fields["device"], "tags": {}, "attributes": {}, "truncated": True}
        body = msgspec.json.encode(fields)
    return body


def _device_fields(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "serial": device.serial,
        "state": device.state.value,
        "name": device.name,
        "tags": dict(device.tags),
        "attributes": dict(device.attributes),
        "profile": device.profile,
        "created_at": _when(device.created_at),
    }


def _when(milliseconds: int) -> str:
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
