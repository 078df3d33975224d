"""Profiles: what devices of one kind get when they are created."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleetkey.config.fields import Count, FrozenDict, FrozenMap, Strings, Table
from fleetkey.config.labels import check_labels, check_name
from fleetkey.config.serial_pattern import SerialPattern

__all__ = ["MAX_PROFILES", "ProfileSettings", "check_profile_name"]

MAX_PROFILES = 1000
PROFILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
NAME_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
NAME_PLACEHOLDERS = frozenset({"serial", "device_id", "profile"})


def check_profile_name(name: str) -> str:
    """Return the name of a profile if it is valid.

    Raises:
        ValueError: it has characters other than letters, digits, `_` and `-`, or too many.
    """
    if not PROFILE_NAME.match(name):
        msg = f"{name[:64]!r} is not a valid profile name; it must be 1 to 64 letters, digits, _ or -"
        raise ValueError(msg)
    return name


def _optional_pattern(value: str) -> str:
    if value:
        SerialPattern(value)
    return value


def _name_template(value: str) -> str:
    check_name(value)
    unknown = [name for name in NAME_PLACEHOLDER.findall(value) if name not in NAME_PLACEHOLDERS]
    if unknown or NAME_PLACEHOLDER.sub("", value).count("{") or NAME_PLACEHOLDER.sub("", value).count("}"):
        msg = "a name may contain {serial}, {device_id} and {profile}, and no other braces"
        raise ValueError(msg)
    return value


def _tags(values: Mapping[str, str]) -> Mapping[str, str]:
    check_labels(values, "tag")
    return values


def _attributes(values: Mapping[str, str]) -> Mapping[str, str]:
    check_labels(values, "attribute")
    return values


class ProfileSettings(Table):
    """`[profiles.NAME]`: copied to a device when it is created; missing values follow the other tables.

    Later changes to a profile don't affect existing devices.
    """

    serials: Annotated[str, AfterValidator(_optional_pattern)] = ""
    """A pattern: devices with such serials get this profile, unless the allow-list or a verifier names another."""
    name: Annotated[str, AfterValidator(_name_template)] = ""
    """Name of the devices, with placeholders `{serial}`, `{device_id}` and `{profile}`."""
    tags: Annotated[FrozenMap[str], AfterValidator(_tags)] = FrozenDict()
    """Tags of the devices."""
    attributes: Annotated[FrozenMap[str], AfterValidator(_attributes)] = FrozenDict()
    """Attributes of the devices."""
    publish: Strings = ()
    """Topic patterns instead of `[topics] publish`."""
    subscribe: Strings = ()
    """Topic patterns instead of `[topics] subscribe`."""
    shared: bool | None = None
    """Whether these devices are meant to share topics, with each other or with others."""
    reregistration: Literal["rotate", "add", "deny"] | None = None
    """What devices get when they register again."""
    grace_seconds: Annotated[int | None, Field(ge=0, le=365 * 86_400)] = None
    """With `rotate`, how long the older keys keep working."""
    max_keys: Annotated[int | None, Field(ge=1, le=1_000)] = None
    """Active keys that a device may hold."""
    key_lifetime_seconds: Annotated[int | None, Field(ge=0, le=10 * 365 * 86_400)] = None
    """How long a key is valid; 0 = no limit."""
    max_messages_per_second: Count | None = None
    """Instead of `[mqtt] max_messages_per_second`; 0 = no limit."""
    max_bytes_per_second: Count | None = None
    """Instead of `[mqtt] max_bytes_per_second`; 0 = no limit."""
    require_approval: bool | None = None
    """Whether devices wait for `fleetkey devices approve`."""
