"""Protecting the tags that a device's topics depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import TopicTemplates
from fleetkey.config.topic_tags import is_safe_in_topics
from fleetkey.management.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.config import Settings
    from fleetkey.registry import Device

__all__ = ["TagRules"]


class TagRules:
    """Prevents tag changes that would make it impossible to build a device's topics, so that it would be refused."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates: TopicTemplates | None = None

    def check(self, device: Device, changes: Mapping[str, str | None]) -> None:
        """Refuse to remove a tag that the device's topics use, or to give it a value that can't be in a topic.

        Raises:
            ConflictError: says which tag, and why.
            TemplateError: a topic pattern in the settings can't be used.
        """
        if self._templates is None:
            self._templates = TopicTemplates.from_settings(self._settings.topics, self._settings.profiles)
        needed = self._templates.of_policy(device.policy).tag_names
        for name, value in changes.items():
            if name not in needed:
                continue
            if value is None and name in device.tags:
                msg = f"device {device.device_id} needs the tag {name!r}: its topics have {{tag:{name}}}"
                raise ConflictError(msg)
            if value is not None and not is_safe_in_topics(value):
                msg = (
                    f"device {device.device_id} can't have {name}={value!r}: its topics have {{tag:{name}}}, "
                    "and a topic level can't contain + # / $ or whitespace"
                )
                raise ConflictError(msg)
