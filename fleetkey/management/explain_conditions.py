"""What is in force for a device, a key or a serial: what lets it in, and what keeps it out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from fleetkey.access import DEVICE_PLACE, Action
from fleetkey.config import SerialPattern
from fleetkey.management.explain_topics import state_refusal
from fleetkey.management.schemas import ConditionAnswer, ConditionEffect, when
from fleetkey.registry import InvalidSerialError, KeyKind, KeyStatus, Reregistration, parse_serial

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from fleetkey.config import Settings
    from fleetkey.management.explain_topics import TopicExplainer, TopicSubject
    from fleetkey.registry import AccessKey, Device
    from fleetkey.registry.store import DeviceLookup, KeyLookup, SerialLookup, StoreTime

    class ConditionStore(DeviceLookup, KeyLookup, SerialLookup, StoreTime, Protocol):
        """The parts of the registry that are read."""


__all__ = ["Conditions"]

MAX_SHOWN = 5
"""How many patterns, keys or networks are listed."""
LETS_IN, KEEPS_OUT, NOTE = ConditionEffect.LETS_IN, ConditionEffect.KEEPS_OUT, ConditionEffect.NOTE


class Conditions:
    """Says what is in force, by the settings and the registry. Every method blocks, and may raise `StoreError`."""

    def __init__(self, settings: Settings, store: ConditionStore, topics: TopicExplainer) -> None:
        self._settings = settings
        self._store = store
        self._topics = topics

    def of_device(self, device: Device) -> Iterator[ConditionAnswer]:
        """Yield what is in force for a device."""
        why, command = state_refusal(device)
        if why is None:
            yield ConditionAnswer(effect=LETS_IN, text="The device is active.")
        else:
            yield ConditionAnswer(effect=KEEPS_OUT, text=_sentence(why), command=command)
        working = [key for _, key in self._store.list_keys(device_id=device.device_id) if self._works(key)]
        if working:
            shown = _listed([_with_expiry(key) for key in working])
            yield ConditionAnswer(effect=LETS_IN, text=f"It has {_keys(len(working))}: {shown}.")
        else:
            yield ConditionAnswer(effect=KEEPS_OUT, text="It has no working key; it gets one when it registers.")
        yield ConditionAnswer(effect=NOTE, text=f"Its client id must be {device.device_id}.")
        subject = self._topics.subject(device_id=device.device_id)
        if subject.scope is None:
            yield ConditionAnswer(effect=KEEPS_OUT, text=_sentence(subject.refused or ""), command=subject.command)
        yield from _topics_of(subject)
        yield from self.of_serial(device.serial)
        policy = device.policy.reregistration or self._settings.registration.reregistration
        if working and policy == Reregistration.DENY:
            yield ConditionAnswer(
                effect=KEEPS_OUT,
                text="It can't register again while it has a working key: reregistration is deny.",
                command=f"fleetkey keys rotate {device.device_id} --grace-seconds 0",
            )

    def of_key(self, key: AccessKey) -> Iterator[ConditionAnswer]:
        """Yield what is in force for a key, and for its device if it has one."""
        subject = self._topics.subject(key=key.key)
        if key.status is KeyStatus.RETIRED:
            text = f"The key was retired at {when(key.retired_at)} ({key.retired_reason})."
            yield ConditionAnswer(effect=KEEPS_OUT, text=text)
        elif not self._works(key):
            yield ConditionAnswer(effect=KEEPS_OUT, text=f"The key expired at {when(key.expires_at)}.")
        else:
            until = f" until {when(key.expires_at)}" if key.expires_at is not None else ""
            yield ConditionAnswer(effect=LETS_IN, text=f"The key is active{until}.")
        if key.kind is KeyKind.DEVICE:
            for device in self._store.find_devices([key.device_id or ""]):
                yield from self.of_device(device)
            return
        if subject.scope is None and self._works(key):
            yield ConditionAnswer(effect=KEEPS_OUT, text=_sentence(subject.refused or ""), command=subject.command)
        if key.sources:
            text = f"It may connect only from {_listed(key.sources)}."
            yield ConditionAnswer(effect=NOTE, text=text)
        yield ConditionAnswer(effect=NOTE, text="Its client id is free, but must not look like a device id.")
        yield from _topics_of(subject)

    def of_serial(self, serial: str, *, is_certain: bool = True) -> Iterator[ConditionAnswer]:
        """Yield whether a serial may register, by each verifier in the settings.

        Args:
            serial: the serial.
            is_certain: whether it is one; there is no command to add to the allow-list what may be something else.
        """
        try:
            parse_serial(serial)
        except InvalidSerialError as error:
            yield ConditionAnswer(effect=KEEPS_OUT, text=f"It can't register: {error}.")
            return
        registration = self._settings.registration
        quoted = f"-- {shlex.quote(serial)}" if serial.startswith("-") else shlex.quote(serial)
        for verifier in registration.verifiers:
            if verifier == "allowlist":
                yield self._listed(serial, quoted, is_certain=is_certain)
            elif verifier == "pattern":
                matches = any(SerialPattern(pattern).matches(serial) for pattern in registration.pattern.serials)
                text = f"The serial matches {'a' if matches else 'no'} pattern in [registration.pattern] serials."
                yield ConditionAnswer(effect=LETS_IN if matches else KEEPS_OUT, text=text)
            elif verifier == "hmac":
                text = "To register, it must send the serial's proof (verifier hmac)."
                command = f"fleetkey serials prove {quoted}" if is_certain else None
                yield ConditionAnswer(effect=NOTE, text=text, command=command)
            elif verifier == "http":
                yield ConditionAnswer(effect=NOTE, text="Your own API decides whether it may register (verifier http).")
            else:
                yield ConditionAnswer(effect=LETS_IN, text="Every serial may register (verifier open).")
        if registration.require_approval:
            text = "A new device waits for approval ([registration] require_approval)."
            yield ConditionAnswer(effect=NOTE, text=text)

    def _listed(self, serial: str, quoted: str, *, is_certain: bool) -> ConditionAnswer:
        if self._store.find_serial(serial) is not None:
            return ConditionAnswer(effect=LETS_IN, text="The serial is on the allow-list, so it may register.")
        return ConditionAnswer(
            effect=KEEPS_OUT,
            text="The serial is not on the allow-list, so it can't register.",
            command=f"fleetkey serials add {quoted}" if is_certain else None,
        )

    def _works(self, key: AccessKey) -> bool:
        has_expired = key.expires_at is not None and key.expires_at <= self._store.now() * 1000
        return key.status is KeyStatus.ACTIVE and not has_expired


def _topics_of(subject: TopicSubject) -> Iterator[ConditionAnswer]:
    if subject.scope is not None:
        for verb, action in (("publish", Action.PUBLISH), ("subscribe", Action.SUBSCRIBE)):
            patterns = tuple(subject.scope.patterns(action))
            text = f"It may {verb} to {_listed(patterns)}." if patterns else f"It may not {verb} to anything."
            yield ConditionAnswer(effect=NOTE, text=text)
        across = [pattern.replace(DEVICE_PLACE, "+") for pattern in subject.scope.across_devices]
        if across:
            count = len(subject.scope.of_devices)
            text = f"With one filter, it hears all devices that it reaches (now {count}): {_listed(across)}."
            yield ConditionAnswer(effect=NOTE, text=text)


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MAX_SHOWN
    return ", ".join(items[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _keys(count: int) -> str:
    return "a working key" if count == 1 else f"{count} working keys"


def _with_expiry(key: AccessKey) -> str:
    return key.key if key.expires_at is None else f"{key.key} (until {when(key.expires_at)})"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
