"""An accepted registration, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.registry.model.devices import NO_POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model.devices import Device, DevicePolicy, Reregistration
    from fleetkey.registry.model.refusal_reasons import RefusalReason

__all__ = ["IssueDenied", "IssuePending", "IssueRequest", "KeyIssued"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRequest:
    """An accepted registration: the proven serial, the credential created for it, and the fleet's policy.

    The device's own policy takes precedence over the fleet's. `name` (with placeholders `{serial}` and `{device_id}`),
    `profile`, `tags`, `attributes`, `policy` and `require_approval` apply only to a device that this creates.
    """

    serial: str
    key: str
    secret_hash: str = field(repr=False)
    reregistration: Reregistration
    grace_seconds: int
    max_keys: int
    require_approval: bool
    key_lifetime_seconds: int = 0
    """0 = no limit."""
    address: str = ""
    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    policy: DevicePolicy = NO_POLICY
    publish: tuple[str, ...] = ()
    """The fleet's topic patterns, so that the audit entry can name tags that the device lacks for its topics."""
    subscribe: tuple[str, ...] = ()
    audit_denial: bool = True
    """Whether to audit a denial, which changes nothing; otherwise the caller does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIssued:
    """The key is stored and committed; its secret may now be sent."""

    device: Device
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePending:
    """The device is waiting for approval; no key was stored."""

    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDenied:
    """No key was stored."""

    device: Device
    reason: RefusalReason
