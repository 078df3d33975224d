"""How long keys go on working after a rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError

if TYPE_CHECKING:
    from fleetkey.registry import Device

__all__ = ["MAX_GRACE_SECONDS", "grace_of"]

MAX_GRACE_SECONDS = 31_536_000


def grace_of(asked: int | None, device: Device, of_settings: int) -> int:
    """Return what is asked for, or what the device's profile said, or what the settings say.

    Raises:
        InvalidRequestError: it is negative, or over `MAX_GRACE_SECONDS`.
    """
    grace = next(seconds for seconds in (asked, device.policy.grace_seconds, of_settings) if seconds is not None)
    if not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequestError("grace_seconds", f"a grace period has 0 to {MAX_GRACE_SECONDS} seconds")
    return grace
