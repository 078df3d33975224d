"""Topic patterns with placeholders, and the scopes they are filled in to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import TopicScope
from fleetkey.access.decisions.topics import DEVICE_PLACE, is_topic_filter
from fleetkey.access.errors import TemplateError, UnsafeValueError
from fleetkey.config.topic_tags import OWN_PLACEHOLDERS, PLACEHOLDER, is_safe_in_topics, missing_tags, tag_names

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from fleetkey.config import ProfileSettings, TopicSettings
    from fleetkey.registry import ApplicationScope, Device, DevicePolicy

__all__ = ["PRESETS", "TopicTemplates"]

PRESETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": (("devices/{device_id}/#",), ("devices/{device_id}/#",)),
    "losant": (("losant/{device_id}/state",), ("losant/{device_id}/command",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTemplates:
    """Publish and subscribe patterns with placeholders, checked on construction."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    of_profiles: tuple[str, ...] = ()
    """The patterns that profiles have instead; application keys for all devices reach these as well."""

    def __post_init__(self) -> None:
        """Reject patterns that could never be filled in safely.

        Raises:
            TemplateError: a pattern isn't a topic filter, or has a placeholder that doesn't fill a whole level.
        """
        for template in (*self.publish, *self.subscribe, *self.of_profiles):
            _check(template)

    @classmethod
    def from_settings(
        cls, settings: TopicSettings, profiles: Mapping[str, ProfileSettings] | None = None
    ) -> TopicTemplates:
        """Return the patterns from the settings, or else of the preset, along with those of the profiles.

        Raises:
            TemplateError: a pattern can't be used; names the profile if it is in one.
        """
        publish, subscribe = PRESETS[settings.preset]
        of_profiles: dict[str, None] = {}
        for name, profile in (profiles or {}).items():
            for template in (*profile.publish, *profile.subscribe):
                try:
                    _check(template)
                except TemplateError as error:
                    msg = f"profile {name}: {error}"
                    raise TemplateError(msg) from None
                of_profiles[template] = None
        return cls(
            publish=settings.publish or publish,
            subscribe=settings.subscribe or subscribe,
            of_profiles=tuple(of_profiles),
        )

    def of_policy(self, policy: DevicePolicy) -> TopicTemplates:
        """Return the patterns for devices with this policy. Raises `TemplateError`."""
        if not policy.publish and not policy.subscribe:
            return self
        return replace(self, publish=policy.publish or self.publish, subscribe=policy.subscribe or self.subscribe)

    @property
    def uses_tags(self) -> bool:
        """Whether any pattern has a tag in it."""
        return any("{tag:" in template for template in (*self.publish, *self.subscribe))

    @property
    def tag_names(self) -> frozenset[str]:
        """The names of the tags in the patterns."""
        return tag_names((*self.publish, *self.subscribe))

    def missing_tags(self, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Return the tags that a device's topics need and that it lacks, or whose value isn't safe in a topic."""
        return missing_tags((*self.publish, *self.subscribe), tags)

    def for_device(self, *, device_id: str, serial: str, tags: Mapping[str, str]) -> TopicScope:
        """Return a device's own scope.

        Raises:
            UnsafeValueError: a tag is missing, or a value contains a character that is special in topics.
        """
        return TopicScope(
            publish=[_fill(template, device_id, serial, tags) for template in self.publish],
            subscribe=[_fill(template, device_id, serial, tags) for template in self.subscribe],
        )

    def for_application(
        self, scope: ApplicationScope, devices: Iterable[Device], *, of_profiles: Iterable[str] = ()
    ) -> TopicScope:
        """Return an application's scope: all topics of the devices it reaches, in both directions, and its own.

        A back end subscribes to what devices publish, and publishes what they subscribe to.

        Args:
            scope: what the key reaches.
            devices: the devices that the key reaches by id or tag.
            of_profiles: patterns that profiles, current or former, have given to devices.
        """
        every = dict.fromkeys((*self.publish, *self.subscribe, *self.of_profiles, *of_profiles))
        fixed = tuple(dict.fromkeys(PLACEHOLDER.sub("+", each) for each in every)) if scope.all_devices else ()
        across_devices: Iterable[str] = ()
        if scope.device_ids or scope.tags:
            opened = (_open(each, dict(scope.tags)) for each in every)
            across_devices = dict.fromkeys(pattern for pattern in opened if pattern is not None)
        return TopicScope(
            publish=(*fixed, *scope.publish),
            subscribe=(*fixed, *scope.subscribe),
            across_devices=across_devices,
            of_devices=self.of_devices(devices),
        )

    def of_devices(self, devices: Iterable[Device]) -> dict[str, tuple[str, ...]]:
        """Return by device id the patterns through which an application reaches each device.

        There are none for a device whose values can't be filled in safely.
        """
        # Many devices share a few policies, and checking one costs more than filling it in.
        known: dict[DevicePolicy, TopicTemplates] = {}
        found: dict[str, tuple[str, ...]] = {}
        for device in devices:
            try:
                own = known.get(device.policy) or known.setdefault(device.policy, self.of_policy(device.policy))
                both = dict.fromkeys((*own.publish, *own.subscribe))
                patterns = [_fill(template, device.device_id, device.serial, device.tags) for template in both]
            except (UnsafeValueError, TemplateError):
                patterns = []
            found[device.device_id] = tuple(patterns)
        return found


def _check(template: str) -> None:
    for level in template.split("/"):
        if ("{" in level or "}" in level) and not PLACEHOLDER.fullmatch(level):
            msg = (
                f"{level!r} in the topic pattern {template!r} is neither a plain level nor exactly one of "
                "{device_id}, {serial}, {tag:NAME}"
            )
            raise TemplateError(msg)
    if not is_topic_filter(PLACEHOLDER.sub("x", template)):
        msg = f"{template!r} is not a topic filter"
        raise TemplateError(msg)


def _fill(template: str, device_id: str, serial: str, tags: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "device_id":
            found = device_id
        elif name == "serial":
            found = serial
        else:
            found = tags.get(name.removeprefix("tag:"), "")
        if not is_safe_in_topics(found):
            raise UnsafeValueError(name)
        return found

    filled = PLACEHOLDER.sub(value, template)
    if not is_topic_filter(filled):
        # Too long, or can't be encoded.
        raise UnsafeValueError(template)
    return filled


def _open(template: str, tags: Mapping[str, str]) -> str | None:
    """Return a pattern with `DEVICE_PLACE` where the device's id or serial goes; None if it has neither.

    A tag has to be one of those that every device in the scope has, and becomes its value: with a wildcard in its
    place, a filter would span groups that the key has nothing to do with.
    """
    levels = []
    for level in template.split("/"):
        match = PLACEHOLDER.fullmatch(level)
        if match is None:
            levels.append(level)
        elif level in OWN_PLACEHOLDERS:
            levels.append(DEVICE_PLACE)
        else:
            value = tags.get(match[1].removeprefix("tag:"), "")
            if not is_safe_in_topics(value):
                return None
            levels.append(value)
    opened = "/".join(levels)
    return opened if DEVICE_PLACE in opened and is_topic_filter(opened.replace(DEVICE_PLACE, "+")) else None
