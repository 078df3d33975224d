"""The shapes of what is posted to the admin API. A field that isn't here is an error."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS
from fleetkey.management import MAX_GRACE_SECONDS, BulkAction
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
GraceSeconds = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="How long keys go on working; null or left out: as the device's profile or the settings say.",
    ),
]
Expires = Annotated[
    str | None, msgspec.Meta(description="When it ends: a duration such as `30d`, or a date (UTC); null: never.")
]
TokenRole = Annotated[
    Role,
    msgspec.Meta(
        description="What it may: `viewer` reads, `operator` changes devices, serials and keys, `admin` everything."
    ),
]
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

    action: Annotated[BulkAction, msgspec.Meta(description="What to do with each of them.")]
    device_ids: Annotated[
        Ids, msgspec.Meta(description="Just these; without `tags`, `attributes`, `serial_pattern`.")
    ] = []
    tags: Annotated[Labels, msgspec.Meta(description="Only devices with all of these.")] = {}
    attributes: Annotated[Labels, msgspec.Meta(description="Only devices with all of these.")] = {}
    serial_pattern: Annotated[str | None, msgspec.Meta(description="A pattern for the whole serial.")] = None
    set_tags: Annotated[LabelChanges, msgspec.Meta(description="For `tag`; null takes one away.")] = {}
    grace_seconds: GraceSeconds | None = None
    cursor: Annotated[
        str | None, msgspec.Meta(description="`next_cursor` of an earlier answer; not with `device_ids`.")
    ] = None


class RotationBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long a device's keys go on working; null: as its profile or the settings say."""

    grace_seconds: GraceSeconds | None = None


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
    scope: Annotated[
        ScopeBody,
        msgspec.Meta(description="What it reaches: devices by id or tag, or all of them; and topics of its own."),
    ]
    description: str = ""
    sources: list[str] = []
    expires: Expires = None


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token; `expires` is a duration such as 30d, or a date."""

    name: str
    role: TokenRole
    expires: Expires = None
