"""The schema of audit entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

from fleetkey.management.schemas.times import Time, shown_time

if TYPE_CHECKING:
    from fleetkey.registry import AuditRecord

__all__ = ["AuditAnswer", "AuditPage"]


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An audit entry."""

    seq: int
    at: Time
    actor: str
    action: str
    outcome: str
    reason: str
    address: str
    serial: str | None
    device_id: str | None
    key: str | None
    by_stranger: bool

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        """Return an entry of the registry in this schema."""
        return cls(
            seq=record.seq,
            at=shown_time(record.at),
            actor=record.actor,
            action=record.action,
            outcome=record.outcome,
            reason=record.reason,
            address=record.address,
            serial=record.serial,
            device_id=record.device_id,
            key=record.key,
            by_stranger=record.by_stranger,
        )


class AuditPage(msgspec.Struct):
    """Audit entries. A page may be short or empty and still have a `next_cursor`; null means the list is complete."""

    items: list[AuditAnswer]
    next_cursor: str | None
