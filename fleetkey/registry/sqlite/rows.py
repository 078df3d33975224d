"""Turning rows into values and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fleetkey.registry.model import AccessKey, ApplicationScope, Device, DeviceState, KeyKind, KeyStatus, Login

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEY_COLUMNS", "LOGIN_QUERY", "device_from", "key_from", "login_from", "scope_from", "scope_text"]

KEY_COLUMNS = (
    "seq, key, kind, status, device_id, name, scope, created_at, first_connected_at, expires_at, retired_at,"
    " retired_reason"
)
LOGIN_QUERY = """
SELECT k.key, k.kind, k.status, k.secret_hash, k.expires_at, k.first_connected_at, k.device_id, d.serial, d.state,
       k.name, k.scope
FROM access_keys k LEFT JOIN devices d ON d.device_id = k.device_id
WHERE k.key = ?
"""


def scope_text(scope: ApplicationScope) -> str:
    """Return the scope as stored: JSON."""
    return json.dumps(
        {
            "all_devices": scope.all_devices,
            "device_ids": scope.device_ids,
            "tags": scope.tags,
            "publish": scope.publish,
            "subscribe": scope.subscribe,
        }
    )


def scope_from(text: str | None) -> ApplicationScope | None:
    """Return the scope that `scope_text` wrote."""
    if text is None:
        return None
    values = json.loads(text)
    return ApplicationScope(
        all_devices=values["all_devices"],
        device_ids=tuple(values["device_ids"]),
        tags=tuple((name, value) for name, value in values["tags"]),
        publish=tuple(values["publish"]),
        subscribe=tuple(values["subscribe"]),
    )


def login_from(row: tuple[Any, ...]) -> Login:
    """Build a login from a row of `LOGIN_QUERY`."""
    key, kind, status, secret_hash, expires_at, first_connected_at, device_id, serial, state, name, scope = row
    return Login(
        key=key,
        kind=KeyKind(kind),
        status=KeyStatus(status),
        secret_hash=secret_hash,
        expires_at=expires_at,
        first_connected_at=first_connected_at,
        device_id=device_id,
        serial=serial,
        device_state=DeviceState(state) if state else None,
        name=name,
        scope=scope_from(scope),
    )


def key_from(row: tuple[Any, ...]) -> AccessKey:
    """Build a key from a row of `KEY_COLUMNS`."""
    _, key, kind, status, device_id, name, scope, created_at, first_connected_at, expires_at, retired_at, reason = row
    return AccessKey(
        key=key,
        kind=KeyKind(kind),
        status=KeyStatus(status),
        device_id=device_id,
        name=name,
        scope=scope_from(scope),
        created_at=created_at,
        first_connected_at=first_connected_at,
        expires_at=expires_at,
        retired_at=retired_at,
        retired_reason=reason,
    )


def device_from(row: tuple[Any, ...], tags: Mapping[str, str]) -> Device:
    """Build a device from (device_id, serial, state, created_at, updated_at) and its tags."""
    device_id, serial, state, created_at, updated_at = row
    return Device(
        device_id=device_id,
        serial=serial,
        state=DeviceState(state),
        tags=tags,
        created_at=created_at,
        updated_at=updated_at,
    )
