"""What became of a client, in words: refusal records, entries of the audit log, and presence as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.management.audit import AuditAction, AuditOutcome
from fleetkey.management.refusals import command_for
from fleetkey.management.schemas import EventAnswer, EventOutcome, RefusalAnswer, when
from fleetkey.management.schemas.times import shown_time
from fleetkey.registry import RefusalReason, RefusalStage

if TYPE_CHECKING:
    from fleetkey.registry import AuditRecord, Presence, RefusalRecord

__all__ = ["REGISTER", "audit_event", "presence_event", "refusal_event"]

REGISTER = "register"
"""What is tried when a client registers."""
TRIED = {
    RefusalStage.REGISTER: REGISTER,
    RefusalStage.CONNECT: "connect",
    RefusalStage.SUBSCRIBE: "subscribe",
    RefusalStage.PUBLISH: "publish",
    RefusalStage.CONNECTION: "stay connected",
}
ATTEMPTS = frozenset({AuditAction.REGISTER, AuditAction.KEY_CONNECTED})
"""The actions of clients; the others are changes."""


def refusal_event(record: RefusalRecord) -> EventAnswer:
    """Return a refusal record as an event, at the time of its last refusal."""
    tried = TRIED[record.stage]
    topic = record.topic
    if topic is not None and record.stage in {RefusalStage.SUBSCRIBE, RefusalStage.PUBLISH}:
        tried, topic = f"{tried} to {topic}", None
    return EventAnswer(
        at=shown_time(record.last_at),
        outcome=EventOutcome.REFUSED,
        tried=tried,
        result=record.reason.value,
        who=_who(record, topic),
        refusal=RefusalAnswer.of(record, command=command_for(record)),
    )


def _who(record: RefusalRecord, topic: str | None) -> str:
    named = {
        "device": record.device_id,
        "serial": record.serial,
        "key": record.key,
        "client id": record.client_id,
        "will topic" if record.reason is RefusalReason.FOREIGN_WILL else "topic": topic,
    }
    # Whose the record is was found out, the rest was claimed.
    claims = [f"{name} {value}" for name, value in named.items() if value is not None]
    where = f"from {record.address or 'many addresses'} ({record.listener.value})"
    said = ", ".join(claims)
    if not said:
        return where
    return f"{where}, {'proven' if record.is_proven else 'claimed, not proven'}: {said}"


def audit_event(entry: AuditRecord) -> EventAnswer | None:
    """Return an entry of the audit log as an event; None for a refusal, which has a record."""
    if entry.outcome != AuditOutcome.OK:
        return None
    named = {"device": entry.device_id, "serial": entry.serial, "key": entry.key}
    said = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
    where = f"from {entry.address}" if entry.address else ""
    if entry.action == AuditAction.REGISTER:
        tried, result = REGISTER, f"registered: {entry.reason}" if entry.reason else "registered"
    elif entry.action == AuditAction.KEY_CONNECTED:
        tried, result = "connect", "logged in with this key for the first time"
    else:
        tried = entry.action.replace("_", " ")
        result = f"by {entry.actor}: {entry.reason}" if entry.reason else f"by {entry.actor}"
    return EventAnswer(
        at=shown_time(entry.at),
        outcome=EventOutcome.SUCCEEDED if entry.action in ATTEMPTS else EventOutcome.CHANGED,
        tried=tried,
        result=result,
        who=", ".join(filter(None, [where, said])),
    )


def presence_event(presence: Presence) -> EventAnswer | None:
    """Return the last connection as an event; None if there was none."""
    began = presence.connected_at if presence.connected_at is not None else presence.last_seen_at
    if began is None:
        return None
    if presence.is_online:
        result = f"connected, last heard from at {when(presence.last_seen_at)}"
    else:
        reason = f" ({presence.reason})" if presence.reason else ""
        result = f"was connected until {when(presence.disconnected_at) or 'an unknown time'}{reason}"
    return EventAnswer(
        at=shown_time(began),
        outcome=EventOutcome.SUCCEEDED,
        tried="connect",
        result=result,
        who=f"from {presence.address}" if presence.address else "",
    )
