"""The schema of refusal records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

from fleetkey.management.schemas.times import Time, shown_time

if TYPE_CHECKING:
    from fleetkey.registry import RefusalRecord

__all__ = ["RefusalAnswer", "RefusalPage"]


class RefusalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All refusals of one client, at one stage, for one reason. Serial, key, client id and topic are only claimed."""

    position: int
    first_at: Time
    last_at: Time
    count: int
    stage: str
    reason: str
    meaning: str
    advice: str
    command: str | None
    detail: str
    listener: str
    address: str
    serial: str | None
    key: str | None
    client_id: str | None
    topic: str | None
    device_id: str | None
    is_proven: bool
    is_known: bool

    @classmethod
    def of(cls, record: RefusalRecord, *, command: str | None) -> Self:
        """Return a record of the registry in this schema, with the command to paste."""
        return cls(
            position=record.position,
            first_at=shown_time(record.first_at),
            last_at=shown_time(record.last_at),
            count=record.count,
            stage=record.stage.value,
            reason=record.reason.value,
            meaning=record.reason.meaning,
            advice=record.reason.advice,
            command=command,
            detail=record.detail,
            listener=record.listener.value,
            address=record.address,
            serial=record.serial,
            key=record.key,
            client_id=record.client_id,
            topic=record.topic,
            device_id=record.device_id,
            is_proven=record.is_proven,
            is_known=record.is_known,
        )


class RefusalPage(msgspec.Struct):
    """Refusal records, newest first. A page may be short and still have a `next_cursor`; null means it is the last."""

    items: list[RefusalAnswer]
    next_cursor: str | None
