"""Why a client doesn't get in: what became of it, and what is in force for it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.explain_conditions import Conditions
from fleetkey.management.explain_events import REGISTER, audit_event, presence_event, refusal_event
from fleetkey.management.explain_topics import TopicExplainer
from fleetkey.management.pages import check_limit
from fleetkey.management.schemas import ConditionAnswer, ConditionEffect, ExplainAnswer
from fleetkey.registry import (
    AuditFilter,
    KeyKind,
    NotFoundError,
    RefusalFilter,
    is_access_key,
    is_device_id,
    redacted,
    shown_claim,
)

if TYPE_CHECKING:
    from typing import Protocol

    from fleetkey.config import Settings
    from fleetkey.management.schemas import EventAnswer, TopicAction, TopicAnswer
    from fleetkey.registry import AccessKey, Device, Presence, RefusalRecord
    from fleetkey.registry.store import (
        AuditReader,
        DeletedDevices,
        DeviceLookup,
        KeyLookup,
        Logins,
        RefusalReader,
        SerialLookup,
        StoreTime,
    )

    class ExplainStore(
        AuditReader,
        DeletedDevices,
        DeviceLookup,
        KeyLookup,
        Logins,
        RefusalReader,
        SerialLookup,
        StoreTime,
        Protocol,
    ):
        """The parts of the registry that the service reads."""


__all__ = ["ExplainService"]

MAX_WHAT_CHARACTERS = 1_024
"""More than any identifier has."""
MAX_SCANNED = 20_000
"""How many audit entries are examined for one explanation."""


@dataclass(slots=True, kw_only=True)
class _Subject:
    """What was asked about, and what the registry has about it."""

    text: str
    is_known: bool = True
    device: Device | None = None
    key: AccessKey | None = None
    serial: str | None = None
    """A serial without a device."""
    missing: str = ""
    """What doesn't exist."""
    refusals: list[RefusalFilter] = field(default_factory=list)
    audit: list[AuditFilter] = field(default_factory=list)
    presence: Presence | None = None


class ExplainService:
    """Explains refusals and decisions. Every method blocks, and changes nothing.

    Every method may raise `NotFoundError`, `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, settings: Settings, store: ExplainStore) -> None:
        self._store = store
        self._topics = TopicExplainer(settings, store)
        self._conditions = Conditions(settings, store, self._topics)

    def topic(self, action: TopicAction, topic: str, *, device_id: str | None, key: str | None) -> TopicAnswer:
        """Say whether a device or a key may use a topic, and which pattern decides."""
        return self._topics.explain(action, topic, device_id=device_id, key=key)

    def explain(self, what: str | None = None, *, limit: int = 20) -> ExplainAnswer:
        """Explain what became of a device, key, serial, client id or address; None: everyone's last refusals.

        Args:
            what: what it is about; something unknown is explained as well, as a serial that might register.
            limit: the maximum number of events.
        """
        check_limit(limit)
        if what is None:
            records = self._store.find_refusals(RefusalFilter(), limit=limit).records
            return ExplainAnswer(
                what=None,
                subject="the last refusals of all",
                is_known=True,
                events=_newest_first([refusal_event(record) for record in records]),
                conditions=[],
            )
        if not 0 < len(what) <= MAX_WHAT_CHARACTERS:
            raise InvalidRequestError("what", f"name something of 1 to {MAX_WHAT_CHARACTERS} characters")
        subject = self._find(what)
        events = self._events(subject, limit)
        return ExplainAnswer(
            what=redacted(what),
            subject=subject.text,
            is_known=subject.is_known or bool(events),
            events=events,
            conditions=_of_client_id(subject, events) or self._in_force(subject, events),
        )

    def _find(self, what: str) -> _Subject:
        """Find what somebody may mean. A serial may look like anything, such as a device id."""
        claim = shown_claim(what)
        claimed = [RefusalFilter(serial=claim), RefusalFilter(client_id=claim)]
        of_serial = self._of_serial(what)
        if is_device_id(what):
            subject = self._of_device_id(what.lower())
        elif is_access_key(what):
            subject = self._of_key(what)
        elif address := _address(what):
            subject = _Subject(text=f"address {address}", is_known=False)
            subject.refusals.append(RefusalFilter(address=address))
            subject.audit.append(AuditFilter(address=address))
        else:
            subject = of_serial
        if of_serial.is_known and not subject.is_known:
            subject = of_serial
        subject.refusals += claimed
        return subject

    def _of_device_id(self, device_id: str) -> _Subject:
        found = self._store.find_devices([device_id])
        if found:
            return self._of_device(found[0])
        serial = self._store.deleted_serial(device_id)
        subject = _Subject(text=f"device {device_id}", is_known=serial is not None, serial=serial)
        subject.missing = "There is no device with this id."
        if serial is not None:
            subject.missing = f"The device was deleted; its serial was {serial}."
        subject.audit.append(AuditFilter(device_id=device_id))
        return subject

    def _of_device(self, device: Device) -> _Subject:
        return _Subject(
            text=f"device {device.device_id}, serial {device.serial}",
            device=device,
            refusals=[
                RefusalFilter(device_id=device.device_id),
                RefusalFilter(serial=shown_claim(device.serial)),
                RefusalFilter(client_id=device.device_id),
            ],
            audit=[AuditFilter(device_id=device.device_id)],
            presence=device.presence,
        )

    def _of_key(self, key: str) -> _Subject:
        filters = {"refusals": [RefusalFilter(key=key)], "audit": [AuditFilter(key=key)]}
        try:
            found = self._store.get_key(key)
        except NotFoundError:
            missing = "This registry doesn't have the key."
            return _Subject(text=f"key {key}", is_known=False, missing=missing, **filters)  # type: ignore[arg-type]
        if found.kind is KeyKind.APPLICATION:
            text = f"application key {key} ({found.name})"
            return _Subject(text=text, key=found, presence=found.presence, **filters)  # type: ignore[arg-type]
        return _Subject(text=f"key {key} of device {found.device_id}", key=found, **filters)  # type: ignore[arg-type]

    def _of_serial(self, serial: str) -> _Subject:
        device = self._store.find_device(serial)
        if device is not None:
            return self._of_device(device)
        return _Subject(
            text=f"serial or client id {redacted(serial)}",
            is_known=self._store.find_serial(serial) is not None,
            serial=serial,
            missing="No device has registered with this serial.",
            audit=[AuditFilter(serial=serial)],
        )

    def _events(self, subject: _Subject, limit: int) -> list[EventAnswer]:
        """Return the newest events, each once, newest first."""
        records: dict[int, RefusalRecord] = {}
        for wanted in subject.refusals:
            records |= {record.position: record for record in self._store.find_refusals(wanted, limit=limit).records}
        events: list[EventAnswer | None] = [refusal_event(records[position]) for position in sorted(records)]
        for each in subject.audit:
            found, _ = self._store.scan_audit(each, limit=limit, max_scanned=MAX_SCANNED)
            events += [audit_event(entry) for entry in reversed(found)]
        if subject.presence is not None:
            events.append(presence_event(subject.presence))
        # Of those at one time, the one that was found last is the newest.
        return _newest_first([event for event in reversed(events) if event])[:limit]

    def _in_force(self, subject: _Subject, events: list[EventAnswer]) -> list[ConditionAnswer]:
        found: list[ConditionAnswer] = []
        if subject.missing:
            # A serial without a device may register as one.
            effect = ConditionEffect.KEEPS_OUT if subject.serial is None else ConditionEffect.NOTE
            found.append(ConditionAnswer(effect=effect, text=subject.missing))
        if subject.device is not None:
            found += self._conditions.of_device(subject.device)
        if subject.key is not None:
            found += self._conditions.of_key(subject.key)
        if subject.serial is not None:
            is_certain = any(event.tried == REGISTER for event in events) or _may_be_serial(subject.serial)
            found += self._conditions.of_serial(subject.serial, is_certain=is_certain)
        return found


def _newest_first(events: list[EventAnswer]) -> list[EventAnswer]:
    """Sort events by time: records are ordered by when they were written, in batches."""
    return sorted(events, key=lambda event: event.at, reverse=True)


def _of_client_id(subject: _Subject, events: list[EventAnswer]) -> list[ConditionAnswer]:
    """Return what is said of something that only refused clients have named, as their client id; else nothing."""
    records = [event.refusal for event in events]
    if subject.is_known or not records or any(record is None or record.client_id is None for record in records):
        return []
    if any(record is not None and record.serial is not None for record in records):
        return []
    newest = records[0]
    owner = (newest.device_id or newest.key) if newest is not None else None
    return [
        ConditionAnswer(
            effect=ConditionEffect.NOTE,
            text="It is only known as a client id; what is in force depends on the key.",
            command=f"fleetkey explain {owner}" if owner else None,
        )
    ]


def _may_be_serial(text: str) -> bool:
    """Whether it isn't rather something else: an id, a key, a secret, or an address with a port."""
    return not (
        is_device_id(text) or is_access_key(text) or redacted(text) != text or _address(text.rpartition(":")[0])
    )


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
