"""Whether devices share topics without being meant to: by the patterns, and which two devices of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import SharingKind, TemplateError, TopicTemplates, UnsafeValueError, can_meet, find_sharing
from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.registry import DeviceState, StoreError, open_store, store_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleetkey.access import Sharing
    from fleetkey.config import Settings
    from fleetkey.registry import Device

__all__ = ["topic_sharing"]

MAX_COMPARED_DEVICES = 5_000
"""How many devices are looked at to name two that share a topic."""
CHECK = "topic sharing"
ADVICE = (
    "Put {device_id} into these patterns. If devices are meant to share topics, set [topics] shared = true, or shared ="
    " true in their profile."
)


@dataclass(frozen=True, slots=True)
class _Member:
    """A device with its patterns, as they are in the settings or its policy, and filled in."""

    device: Device
    publish: Mapping[str, str]
    subscribe: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.device.device_id} ({self.device.serial})"


def topic_sharing(settings: Settings) -> Iterator[Finding]:
    """Warn if devices can hear or impersonate each other; name two of the registry, or say which two would."""
    try:
        found = find_sharing(settings.topics, settings.profiles)
        TopicTemplates.from_settings(settings.topics, settings.profiles)
    except TemplateError:
        # Reported with the topics.
        return
    unmeant = [sharing for sharing in found if not sharing.is_meant]
    members = _members(settings) if any(one.kind is not SharingKind.BROADCAST for one in unmeant) else []
    for kind in (SharingKind.HEARD, SharingKind.IMPERSONATED):
        of_kind = [sharing for sharing in unmeant if sharing.kind is kind]
        if of_kind:
            yield Finding(CHECK, Verdict.WARNING, _detail(of_kind, members), ADVICE)
    if broadcast := list(dict.fromkeys(one.first for one in found if one.kind is SharingKind.BROADCAST)):
        yield Finding(CHECK, Verdict.OK, f"several devices receive {', '.join(broadcast)}; none can publish there")
    meant = [one for one in found if one.is_meant and one.kind is not SharingKind.BROADCAST]
    if meant:
        yield Finding(CHECK, Verdict.OK, f"devices share {meant[0].first}, as the settings say that they are meant to")


def _detail(sharings: Sequence[Sharing], members: Sequence[_Member]) -> str:
    for sharing in sharings:
        if pair := _pair(sharing, members):
            first, second = map(str, pair)
            if sharing.kind is SharingKind.HEARD:
                return f"{second} receives in {sharing.second} what {first} may publish to {sharing.first}"
            return f"{first} can publish in the name of {second}: {_both(sharing)}"
    sharing = sharings[0]
    same = f" with the same {', '.join(sharing.tags)}" if sharing.tags else ""
    if sharing.kind is SharingKind.HEARD:
        return f"any two devices{same} hear each other: {sharing.second} receives what is published to {sharing.first}"
    return f"any device{same} can publish in the name of another: {_both(sharing)}"


def _both(sharing: Sharing) -> str:
    if sharing.first == sharing.second:
        return f"both may publish to {sharing.first}"
    return f"one may publish to {sharing.first}, the other to {sharing.second}"


def _pair(sharing: Sharing, members: Sequence[_Member]) -> tuple[_Member, _Member] | None:
    """Return two devices that the patterns don't keep apart, if there are any."""
    firsts: dict[tuple[str | None, ...], list[_Member]] = {}
    for member in members:
        near = firsts.setdefault(_values(sharing, member), [])
        # Two are enough: at least one of them is another device than the one that it is compared with.
        if sharing.first in member.publish and len(near) < 2:  # noqa: PLR2004 - as the line above says
            near.append(member)
    for member in members:
        seconds = member.subscribe if sharing.kind is SharingKind.HEARD else member.publish
        filled = seconds.get(sharing.second)
        for first in firsts.get(_values(sharing, member), ()) if filled else ():
            if first is not member and can_meet(first.publish[sharing.first], filled or ""):
                return first, member
    return None


def _values(sharing: Sharing, member: _Member) -> tuple[str | None, ...]:
    return tuple(member.device.tags.get(name) for name in sharing.tags)


def _members(settings: Settings) -> list[_Member]:
    """Return the first devices of the registry that may connect; none if there is no registry or it can't be read."""
    try:
        if not store_path(settings).exists():
            return []
        registry = open_store(settings)
    except StoreError:
        return []
    templates = TopicTemplates.from_settings(settings.topics, settings.profiles)
    found: list[_Member] = []
    try:
        for device in registry.list_devices(limit=MAX_COMPARED_DEVICES):
            if device.state not in {DeviceState.DISABLED, DeviceState.REJECTED}:
                try:
                    own = templates.of_policy(device.policy)
                    scope = own.for_device(device_id=device.device_id, serial=device.serial, tags=device.tags)
                except (TemplateError, UnsafeValueError):
                    continue
                publish = dict(zip(own.publish, scope.publish, strict=True))
                found.append(_Member(device, publish, dict(zip(own.subscribe, scope.subscribe, strict=True))))
    except StoreError:
        return []
    finally:
        registry.close()
    return found
