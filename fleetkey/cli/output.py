"""Printing for people and for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleetkey.registry import AccessKey, AuditRecord, Device, DevicePolicy, ListedSerial

__all__ = [
    "audit_fields",
    "device_fields",
    "key_fields",
    "print_json",
    "print_list",
    "print_one",
    "serial_fields",
    "when",
]


def when(milliseconds: int | None) -> str | None:
    """Return a stored time as ISO 8601 in UTC."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    return {name: value for name, value in asdict(policy).items() if value not in (None, ())}


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
        "scope": asdict(key.scope) if key.scope else None,
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
    }


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(value), flush=True)


def print_one(fields: dict[str, Any], *, as_json: bool) -> None:
    """Print one thing: JSON, or a line a field."""
    if as_json:
        print_json(fields)
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_text(value)}")


def print_list(rows: Iterable[dict[str, Any]], columns: Sequence[tuple[str, int]], *, as_json: bool) -> None:
    """Print rows as they come, so that a fleet of any size takes no memory.

    Args:
        rows: what to print; JSON shows every field.
        columns: field names and widths for people.
        as_json: one JSON array.
    """
    if as_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(row))
            separator = ","
        print("]" if separator == "," else "[]")
        return
    header = "  ".join(f"{name:<{width}}" for name, width in columns).rstrip()
    is_first = True
    for row in rows:
        if is_first:
            print(header)
            is_first = False
        print("  ".join(f"{_text(row[name]):<{width}}" for name, width in columns).rstrip())
    if is_first:
        print("(none)")


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, dict):
        return (
            ", ".join(f"{name}={_text(inner)}" for name, inner in value.items() if inner not in (None, [], ())) or "-"
        )
    if isinstance(value, list | tuple):
        return " ".join(_text(inner) for inner in value) or "-"
    return str(value)
