"""`[limits]`: how much memory and disk the server may use, and how much of it one owner."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from fleetkey.config.fields import Size, Table

__all__ = ["LimitSettings"]

MIN_MEMORY_BYTES = 128 * 1024 * 1024
"""The server itself needs most of that."""
MIN_DISK_BYTES = 16 * 1024 * 1024
MIN_SHARE_BYTES = 1024 * 1024


def _at_least(least: int) -> AfterValidator:
    """Accept 0, which stands for the machine's, or at least so many bytes."""

    def check(value: int) -> int:
        if 0 < value < least:
            msg = f"at least {least // 2**20}MiB, or 0 to take it from the machine"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


class LimitSettings(Table):
    """`[limits]`: the budgets of the whole server, and the shares of a device and of an application key."""

    memory: Annotated[Size, Field(ge=0), _at_least(MIN_MEMORY_BYTES)] = 0
    """Memory that the server may use, itself included; 0 = half of the machine's, or of the container's."""
    memory_per_device: Annotated[Size, Field(ge=MIN_SHARE_BYTES)] = 16 * 1024 * 1024
    """Memory for what one device makes the server keep: connection, session, queue, retained messages."""
    memory_per_application: Annotated[Size, Field(ge=MIN_SHARE_BYTES)] = 128 * 1024 * 1024
    """The same for one application key, with all of its connections and sessions."""
    disk: Annotated[Size, Field(ge=0), _at_least(MIN_DISK_BYTES)] = 0
    """Disk space for sessions, queues and retained messages; 0 = half of what is free, and what they already use."""
    disk_per_device: Annotated[Size, Field(ge=MIN_SHARE_BYTES)] = 32 * 1024 * 1024
    """The part of it that one device may use."""
    disk_per_application: Annotated[Size, Field(ge=MIN_SHARE_BYTES)] = 256 * 1024 * 1024
    """The part of it that one application key may use."""
