"""What is shown of the registry's values: the same fields on the command line and in the HTTP API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fleetkey.registry import NO_POLICY, DevicePolicy

if TYPE_CHECKING:
    from fleetkey.management.webhooks import WebhookStatus
    from fleetkey.registry import AccessKey, ApplicationScope, AuditRecord, Device, ListedSerial, Token

__all__ = ["audit_fields", "device_fields", "key_fields", "serial_fields", "token_fields", "webhook_fields", "when"]

MAX_REMEMBERED_MINUTES = 1024
"""Minutes whose text is remembered."""


def when(milliseconds: int | None) -> str | None:
    """Return a stored time as ISO 8601 in UTC."""
    if milliseconds is None:
        return None
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_to_the_minute(minute)}:{rest // 1000:02}.{rest % 1000:03}Z"


@lru_cache(maxsize=MAX_REMEMBERED_MINUTES)
def _to_the_minute(minute: int) -> str:
    # What takes the time: a page of devices has a hundred times, and many are of the same minutes.
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")[:16]


def device_fields(device: Device) -> dict[str, Any]:
    """Return a device as the command line and the API show it."""
    return {
        "device_id": device.device_id,
        "serial": device.serial,
        "state": device.state.value,
        "name": device.name,
        "tags": dict(device.tags),
        "attributes": dict(device.attributes),
        "profile": device.profile,
        "policy": _policy_fields(device.policy),
        "online": device.presence.is_online,
        "last_seen_at": when(device.presence.last_seen_at),
        "connected_at": when(device.presence.connected_at),
        "disconnected_at": when(device.presence.disconnected_at),
        "address": device.presence.address,
        "disconnect_reason": device.presence.reason,
        "created_at": when(device.created_at),
        "updated_at": when(device.updated_at),
    }


def _policy_fields(policy: DevicePolicy) -> dict[str, Any]:
    if policy == NO_POLICY:
        return {}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(policy).items()
        if value not in (None, ())
    }


def serial_fields(listed: ListedSerial) -> dict[str, Any]:
    """Return a listed serial as the command line and the API show it."""
    return {
        "serial": listed.serial,
        "name": listed.name,
        "profile": listed.profile,
        "tags": dict(listed.tags),
        "attributes": dict(listed.attributes),
    }


def key_fields(key: AccessKey) -> dict[str, Any]:
    """Return a key as the command line and the API show it."""
    return {
        "key": key.key,
        "kind": key.kind.value,
        "status": key.status.value,
        "device_id": key.device_id,
        "name": key.name,
        "description": key.description,
        "scope": _scope_fields(key.scope) if key.scope else None,
        "sources": list(key.sources),
        "created_at": when(key.created_at),
        "first_connected_at": when(key.first_connected_at),
        "expires_at": when(key.expires_at),
        "retired_at": when(key.retired_at),
        "retired_reason": key.retired_reason,
    }


def audit_fields(record: AuditRecord) -> dict[str, Any]:
    """Return an audit entry as the command line and the API show it."""
    return {
        "seq": record.seq,
        "at": when(record.at),
        "actor": record.actor,
        "action": record.action,
        "outcome": record.outcome,
        "reason": record.reason,
        "address": record.address,
        "serial": record.serial,
        "device_id": record.device_id,
        "key": record.key,
        "by_stranger": record.by_stranger,
    }


def _scope_fields(scope: ApplicationScope) -> dict[str, Any]:
    return {
        "all_devices": scope.all_devices,
        "device_ids": list(scope.device_ids),
        "tags": dict(scope.tags),
        "publish": list(scope.publish),
        "subscribe": list(scope.subscribe),
    }


def token_fields(token: Token) -> dict[str, Any]:
    """Return a token as the command line and the API show it."""
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": token.role.value,
        "created_at": when(token.created_at),
        "created_by": token.created_by,
        "expires_at": when(token.expires_at),
        "revoked_at": when(token.revoked_at),
    }


def webhook_fields(status: WebhookStatus) -> dict[str, Any]:
    """Return a webhook as the command line and the API show it."""
    return {**asdict(status), "events": list(status.events), "delivered_at": when(status.delivered_at)}
