"""The registry's values, back from the API's answers, so that a command prints the same wherever they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import UnsetType

from fleetkey.management import WebhookStatus
from fleetkey.registry import (
    AccessKey,
    ApplicationScope,
    AuditRecord,
    Device,
    DevicePolicy,
    ListedSerial,
    Presence,
    Token,
)

if TYPE_CHECKING:
    from datetime import datetime

    from fleetkey.registration.api.answers import (
        AuditAnswer,
        DeviceAnswer,
        KeyAnswer,
        PolicyAnswer,
        SerialAnswer,
        TokenAnswer,
        WebhookAnswer,
    )

__all__ = ["audit_record", "device", "key", "listed_serial", "token", "webhook"]

T = TypeVar("T")


def device(answer: DeviceAnswer) -> Device:
    """Return a device."""
    return Device(
        device_id=answer.device_id,
        serial=answer.serial,
        state=answer.state,
        name=answer.name,
        tags=answer.tags,
        attributes=answer.attributes,
        profile=answer.profile,
        policy=_policy(answer.policy),
        presence=Presence(
            is_online=answer.online,
            connected_at=_maybe(answer.connected_at),
            disconnected_at=_maybe(answer.disconnected_at),
            last_seen_at=_maybe(answer.last_seen_at),
            address=answer.address,
            reason=answer.disconnect_reason,
        ),
        created_at=_milliseconds(answer.created_at),
        updated_at=_milliseconds(answer.updated_at),
    )


def _policy(says: PolicyAnswer) -> DevicePolicy:
    return DevicePolicy(
        reregistration=_said(says.reregistration),
        grace_seconds=_said(says.grace_seconds),
        max_keys=_said(says.max_keys),
        key_lifetime_seconds=_said(says.key_lifetime_seconds),
        publish=tuple(_said(says.publish) or ()),
        subscribe=tuple(_said(says.subscribe) or ()),
    )


def _said(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def listed_serial(answer: SerialAnswer) -> ListedSerial:
    """Return a serial of the allow-list."""
    return ListedSerial(
        serial=answer.serial,
        name=answer.name,
        profile=answer.profile,
        tags=answer.tags,
        attributes=answer.attributes,
    )


def key(answer: KeyAnswer) -> AccessKey:
    """Return a key."""
    scope = answer.scope
    return AccessKey(
        key=answer.key,
        kind=answer.kind,
        status=answer.status,
        device_id=answer.device_id,
        name=answer.name,
        description=answer.description,
        scope=ApplicationScope(
            all_devices=scope.all_devices,
            device_ids=tuple(scope.device_ids),
            tags=tuple(scope.tags.items()),
            publish=tuple(scope.publish),
            subscribe=tuple(scope.subscribe),
        )
        if scope
        else None,
        sources=tuple(answer.sources),
        created_at=_milliseconds(answer.created_at),
        first_connected_at=_maybe(answer.first_connected_at),
        expires_at=_maybe(answer.expires_at),
        retired_at=_maybe(answer.retired_at),
        retired_reason=answer.retired_reason,
    )


def audit_record(answer: AuditAnswer) -> AuditRecord:
    """Return an audit entry."""
    return AuditRecord(
        seq=answer.seq,
        at=_milliseconds(answer.at),
        actor=answer.actor,
        action=answer.action,
        outcome=answer.outcome,
        reason=answer.reason,
        address=answer.address,
        serial=answer.serial,
        device_id=answer.device_id,
        key=answer.key,
        by_stranger=answer.by_stranger,
    )


def token(answer: TokenAnswer) -> Token:
    """Return a token."""
    return Token(
        token_id=answer.token_id,
        name=answer.name,
        role=answer.role,
        created_at=_milliseconds(answer.created_at),
        created_by=answer.created_by,
        expires_at=_maybe(answer.expires_at),
        revoked_at=_maybe(answer.revoked_at),
    )


def webhook(answer: WebhookAnswer) -> WebhookStatus:
    """Return a webhook."""
    return WebhookStatus(
        name=answer.name,
        to=answer.to,
        events=tuple(answer.events),
        behind=answer.behind,
        delivered=answer.delivered,
        given_up=answer.given_up,
        missed=answer.missed,
        delivered_at=_maybe(answer.delivered_at),
        last_error=answer.last_error,
    )


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _maybe(at: datetime | None) -> int | None:
    return None if at is None else _milliseconds(at)
