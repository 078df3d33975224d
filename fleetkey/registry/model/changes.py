"""The change feed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Change", "ChangeKind"]


class ChangeKind(StrEnum):
    """The kind of change that a row of the feed records."""

    DEVICE_CREATED = "device_created"
    DEVICE_PENDING = "device_pending"
    DEVICE_APPROVED = "device_approved"
    DEVICE_REJECTED = "device_rejected"
    DEVICE_DISABLED = "device_disabled"
    DEVICE_ENABLED = "device_enabled"
    DEVICE_DELETED = "device_deleted"
    DEVICE_TAGGED = "device_tagged"
    DEVICE_DESCRIBED = "device_described"
    KEY_ISSUED = "key_issued"
    KEY_CONNECTED = "key_connected"
    KEY_EXPIRING = "key_expiring"
    KEY_RETIRED = "key_retired"
    RESET = "reset"
    """Not stored: the follower lost its position, so everything may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the feed; `seq` grows with every commit."""

    seq: int
    at: int
    kind: ChangeKind
    device_id: str | None = None
    key: str | None = None
