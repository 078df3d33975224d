"""Converting rows to values and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fleetkey.registry.model import (
    NO_POLICY,
    AccessKey,
    ApplicationScope,
    Device,
    DevicePolicy,
    DeviceState,
    KeyKind,
    KeyStatus,
    ListedSerial,
    Login,
    Presence,
    Reregistration,
)
from fleetkey.registry.plans import HeldKey

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEVICE_COLUMNS",
    "DEVICE_VALUES",
    "HELD_KEY_COLUMNS",
    "KEYS",
    "KEY_COLUMNS",
    "LOGIN_QUERY",
    "details_text",
    "device_from",
    "held_key_from",
    "key_from",
    "listed_from",
    "login_from",
    "policy_from",
    "policy_text",
    "scope_from",
    "scope_text",
]

DEVICE_COLUMNS = "device_id, serial, state, name, profile, policy, created_at, updated_at"

KEY_COLUMNS = (
    "seq, key, kind, status, device_id, name, scope, created_at, first_connected_at, expires_at, retired_at,"
    " retired_reason, description, sources, is_online, connected_at, disconnected_at, last_seen_at, address, reason"
)
KEYS = "access_keys LEFT JOIN key_presence ON owner = key"
"""Where `KEY_COLUMNS` are."""
HELD_KEY_COLUMNS = "key, expires_at, first_connected_at, rotated_at, replaces_older"
DEVICE_VALUES = """
json_array(
  d.device_id, d.serial, d.state, d.name, d.profile, d.policy, d.created_at, d.updated_at,
  json((SELECT json_group_object(name, value) FROM device_tags t WHERE t.device_id = d.device_id)),
  json((SELECT json_group_object(name, value) FROM device_attributes a WHERE a.device_id = d.device_id)),
  p.is_online, p.connected_at, p.disconnected_at, p.last_seen_at, p.address, p.reason
)
"""
"""A device `d` and its presence `p`, as JSON, for `device_from`."""
NEVER_SEEN = Presence()
LOGIN_QUERY = """
SELECT k.key, k.kind, k.status, k.secret_hash, k.expires_at, k.first_connected_at, k.device_id, d.serial, d.state,
       k.name, k.scope, k.sources, d.policy
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
    key, kind, status, secret_hash, expires_at, first_connected_at, device_id, serial, state, name, scope = row[:11]
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
        sources=_sources_from(row[11]),
        policy=policy_from(row[12]),
    )


def key_from(row: tuple[Any, ...]) -> AccessKey:
    """Build a key from a row of `KEY_COLUMNS`."""
    _, key, kind, status, device_id, name, scope, created_at, first_connected_at, expires_at, retired_at, reason = row[
        :12
    ]
    return AccessKey(
        key=key,
        kind=KeyKind(kind),
        status=KeyStatus(status),
        device_id=device_id,
        name=name,
        description=row[12],
        scope=scope_from(scope),
        sources=_sources_from(row[13]),
        created_at=created_at,
        first_connected_at=first_connected_at,
        expires_at=expires_at,
        retired_at=retired_at,
        retired_reason=reason,
        presence=_presence_from(row[14:]),
    )


def held_key_from(row: tuple[Any, ...]) -> HeldKey:
    """Build a key for policies from a row of `HELD_KEY_COLUMNS`."""
    key, expires_at, first_connected_at, rotated_at, replaces_older = row
    return HeldKey(
        key=key,
        expires_at=expires_at,
        first_connected_at=first_connected_at,
        rotated_at=rotated_at,
        replaces_older=bool(replaces_older),
    )


def device_from(values: Sequence[Any]) -> Device:
    """Build a device from the values of `DEVICE_VALUES`."""
    device_id, serial, state, name, profile, policy, created_at, updated_at, tags, attributes, *presence = values
    return Device(
        device_id=device_id,
        serial=serial,
        state=DeviceState(state),
        name=name,
        tags=tags,
        attributes=attributes,
        profile=profile,
        policy=policy_from(policy),
        presence=_presence_from(presence),
        created_at=created_at,
        updated_at=updated_at,
    )


def _presence_from(values: Sequence[Any]) -> Presence:
    is_online, connected_at, disconnected_at, last_seen_at, address, reason = values
    if is_online is None:
        return NEVER_SEEN
    return Presence(
        is_online=bool(is_online),
        connected_at=connected_at,
        disconnected_at=disconnected_at,
        last_seen_at=last_seen_at,
        address=address,
        reason=reason,
    )


def policy_text(policy: DevicePolicy) -> str | None:
    """Return a device's policy as stored: JSON of its values, or None if it has none."""
    says = {name: value for name, value in asdict(policy).items() if value not in (None, ())}
    return json.dumps(says) if says else None


def policy_from(text: str | None) -> DevicePolicy:
    """Return the policy that `policy_text` wrote."""
    if text is None:
        return NO_POLICY
    values = json.loads(text)
    policy = values.get("reregistration")
    return DevicePolicy(
        reregistration=Reregistration(policy) if policy else None,
        grace_seconds=values.get("grace_seconds"),
        max_keys=values.get("max_keys"),
        key_lifetime_seconds=values.get("key_lifetime_seconds"),
        publish=tuple(values.get("publish", ())),
        subscribe=tuple(values.get("subscribe", ())),
        max_messages_per_second=values.get("max_messages_per_second"),
        max_bytes_per_second=values.get("max_bytes_per_second"),
    )


def details_text(listed: ListedSerial) -> str | None:
    """Return a serial's details as stored: JSON, or None if there are none."""
    says = {
        "name": listed.name,
        "profile": listed.profile,
        "tags": dict(sorted(listed.tags.items())),
        "attributes": dict(sorted(listed.attributes.items())),
    }
    return json.dumps({name: value for name, value in says.items() if value}) if any(says.values()) else None


def listed_from(serial: str, details: str | None) -> ListedSerial:
    """Return the serial with the details that `details_text` wrote."""
    values = json.loads(details) if details else {}
    return ListedSerial(
        serial=serial,
        name=values.get("name", ""),
        profile=values.get("profile"),
        tags=values.get("tags", {}),
        attributes=values.get("attributes", {}),
    )


def _sources_from(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()
