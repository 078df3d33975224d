"""The shapes of what is posted to the admin API. A field that isn't here is an error."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS
from fleetkey.management import BulkAction
from fleetkey.registry import Role

__all__ = [
    "MAX_BODY_BYTES",
    "BulkBody",
    "DeviceBody",
    "KeyBody",
    "RotationBody",
    "ScopeBody",
    "SerialEntry",
    "SerialsBody",
    "TagsBody",
    "TokenBody",
]

MAX_BODY_BYTES = 1024 * 1024
"""Of every body but an import."""
MAX_POSTED = 10_000
"""Serials, or device ids, of one request."""

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
Labels = Annotated[dict[Label, Label], msgspec.Meta(max_length=MAX_LABELS)]
LabelChanges = Annotated[dict[Label, Label | None], msgspec.Meta(max_length=MAX_LABELS)]
"""Null takes one away."""
Ids = Annotated[list[str], msgspec.Meta(max_length=MAX_POSTED)]


class SerialEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A serial with what its device gets."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Labels = {}
    attributes: Labels = {}


class SerialsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Serials to add, all of them or none."""

    serials: Annotated[list[str | SerialEntry], msgspec.Meta(min_length=1, max_length=MAX_POSTED)]


class DeviceBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to set of a device; a name of null leaves it, an empty one takes it away."""

    name: str | None = None
    attributes: LabelChanges = {}


class TagsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Tags to set."""

    tags: Annotated[dict[Label, Label | None], msgspec.Meta(min_length=1, max_length=MAX_LABELS)]


class BulkBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to do with which devices: those named, or those that match everything that is given.

    `set_tags` goes with the action `tag`, `grace_seconds` with `rotate`.
    """

    action: BulkAction
    device_ids: Ids = []
    tags: Labels = {}
    attributes: Labels = {}
    serial_pattern: str | None = None
    set_tags: LabelChanges = {}
    grace_seconds: int | None = None
    cursor: str | None = None


class RotationBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long a device's keys go on working; null: as its profile or the settings say."""

    grace_seconds: int | None = None


class ScopeBody(msgspec.Struct, forbid_unknown_fields=True):
    """What an application key reaches."""

    all_devices: bool = False
    device_ids: Ids = []
    tags: Labels = {}
    publish: list[str] = []
    subscribe: list[str] = []


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key for a back end."""

    name: str
    scope: ScopeBody
    description: str = ""
    sources: list[str] = []
    expires: str | None = None


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token; `expires` is a duration such as 30d, or a date."""

    name: str
    role: Role
    expires: str | None = None
