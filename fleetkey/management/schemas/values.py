"""Types of values that several schemas use."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS

__all__ = [
    "MAX_GRACE_SECONDS",
    "MAX_POSTED",
    "DeviceId",
    "Expires",
    "Ids",
    "Key",
    "KeySecret",
    "Label",
    "LabelChanges",
    "Labels",
    "TokenId",
]

MAX_POSTED = 10_000
"""Maximum number of serials, or of device ids, in one request."""
MAX_GRACE_SECONDS = 31_536_000
"""Maximum time for which keys may keep working after a rotation: a year."""

DeviceId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]
Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
KeySecret = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
TokenId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
Labels = Annotated[dict[Label, Label], msgspec.Meta(max_length=MAX_LABELS)]
LabelChanges = Annotated[dict[Label, Label | None], msgspec.Meta(max_length=MAX_LABELS)]
"""Null removes one."""
Ids = Annotated[list[str], msgspec.Meta(max_length=MAX_POSTED)]
Expires = Annotated[
    str | None,
    msgspec.Meta(description="When it expires: a duration such as `30d`, or a date (UTC). Null means never."),
]
