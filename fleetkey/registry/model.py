"""The values that the registry keeps. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_EXPIRED_AT_ONCE",
    "AccessKey",
    "Actor",
    "ApplicationScope",
    "AuditEntry",
    "AuditFilter",
    "AuditPage",
    "AuditRecord",
    "Change",
    "ChangeKind",
    "DeniedReason",
    "Device",
    "DevicePolicy",
    "DeviceScan",
    "DeviceState",
    "IssueDenied",
    "IssuePending",
    "IssueRequest",
    "KeyIssued",
    "KeyKind",
    "KeyStatus",
    "KeysEnding",
    "ListedSerial",
    "Login",
    "Presence",
    "Reregistration",
    "RetiredReason",
    "Role",
    "SerialConflict",
    "SerialsAdded",
    "Token",
    "TokenVerifier",
    "WebhookState",
]

MAX_EXPIRED_AT_ONCE = 1000
"""Keys that are retired in one transaction because their time is over."""


class DeviceState(StrEnum):
    """Whether a device may connect."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    REJECTED = "rejected"


class KeyKind(StrEnum):
    """Whose credential it is."""

    DEVICE = "device"
    APPLICATION = "application"


class KeyStatus(StrEnum):
    """Keys are retired, never deleted and never reused."""

    ACTIVE = "active"
    RETIRED = "retired"


class RetiredReason(StrEnum):
    """Why a key was retired."""

    REPLACED = "replaced"
    EXPIRED = "expired"
    TOO_MANY_KEYS = "too_many_keys"
    REVOKED = "revoked"
    DEVICE_DELETED = "device_deleted"


class DeniedReason(StrEnum):
    """Why a device that proved its serial gets no key."""

    DEVICE_DISABLED = "device_disabled"
    DEVICE_REJECTED = "device_rejected"
    ALREADY_REGISTERED = "already_registered"


class Reregistration(StrEnum):
    """What a device that is known already gets when it registers."""

    ROTATE = "rotate"
    ADD = "add"
    DENY = "deny"


class Role(StrEnum):
    """What a token of the admin API may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Actor(str):
    """Who does something, for the audit, with the address from which; a plain text is one without an address."""

    __slots__ = ("address",)
    address: str

    def __new__(cls, name: str, *, address: str = "") -> Self:
        """Make one.

        Args:
            name: who it is.
            address: from where.
        """
        actor = super().__new__(cls, name)
        actor.address = address
        return actor


class ChangeKind(StrEnum):
    """What a row of the change feed says."""

    DEVICE_CREATED = "device_created"
    DEVICE_PENDING = "device_pending"
    DEVICE_APPROVED = "device_approved"
    DEVICE_REJECTED = "device_rejected"
    DEVICE_DISABLED = "device_disabled"
    DEVICE_ENABLED = "device_enabled"
    DEVICE_DELETED = "device_deleted"
    DEVICE_TAGGED = "device_tagged"
    DEVICE_DESCRIBED = "device_described"
    KEY_ISSUED = "key_issued"
    KEY_CONNECTED = "key_connected"
    KEY_EXPIRING = "key_expiring"
    KEY_RETIRED = "key_retired"
    RESET = "reset"
    """Not stored: the follower lost its place, so everything may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePolicy:
    """What a profile said when the device was created; None and empty follow the settings."""

    reregistration: Reregistration | None = None
    grace_seconds: int | None = None
    max_keys: int | None = None
    key_lifetime_seconds: int | None = None
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device is connected to the broker, and what is known of its last connection; times in milliseconds."""

    is_online: bool = False
    connected_at: int | None = None
    disconnected_at: int | None = None
    last_seen_at: int | None = None
    address: str = ""
    """Where it connected from."""
    reason: str = ""
    """Why its last connection ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the fleet."""

    device_id: str
    serial: str
    state: DeviceState
    name: str = ""
    tags: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None
    policy: DevicePolicy = DevicePolicy()
    presence: Presence = Presence()
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSerial:
    """A serial of the allow-list, and what its device gets when it is created."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationScope:
    """What an application key reaches: devices by id, by tags (all of them must match), or all; extra topic lists."""

    all_devices: bool = False
    device_ids: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A credential as an operator sees it: everything but the secret's hash."""

    key: str
    kind: KeyKind
    status: KeyStatus
    device_id: str | None
    name: str | None
    description: str = ""
    scope: ApplicationScope | None
    sources: tuple[str, ...] = ()
    """Addresses and networks from which it may connect; empty = from anywhere."""
    created_at: int
    first_connected_at: int | None
    expires_at: int | None
    retired_at: int | None
    retired_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Everything that decides whether a key may connect, read in one go."""

    key: str
    kind: KeyKind
    status: KeyStatus
    secret_hash: str = field(repr=False)
    expires_at: int | None
    first_connected_at: int | None
    device_id: str | None
    serial: str | None
    device_state: DeviceState | None
    name: str | None
    scope: ApplicationScope | None
    sources: tuple[str, ...] = ()
    policy: DevicePolicy = DevicePolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the feed; `seq` grows with every commit."""

    seq: int
    at: int
    kind: ChangeKind
    device_id: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where, with which outcome and why. Never holds a secret."""

    actor: str
    action: str
    outcome: str
    reason: str = ""
    address: str = ""
    serial: str | None = None
    device_id: str | None = None
    key: str | None = None
    by_stranger: bool = False
    """Whether whoever caused it proved nothing, whatever they claim to be: such entries have a bound of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An audit entry as stored."""

    seq: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which audit entries are wanted; what is None is not asked for."""

    actor: str | None = None
    """`device`, `cli`, `cli:USER`, `api:NAME:ID` and so on: a kind stands for all of its kind."""
    action: str | None = None
    outcome: str | None = None
    address: str | None = None
    serial: str | None = None
    device_id: str | None = None
    key: str | None = None
    since: int | None = None
    """Milliseconds since 1970; this moment counts."""
    until: int | None = None
    """Milliseconds since 1970; this moment doesn't count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries that match, and how far was looked: a page may be short, or empty, and there be more behind it."""

    records: tuple[AuditRecord, ...]
    position: int
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceScan:
    """Devices that a bounded look through the registry found, in order of id.

    `reached` is the last id that was looked at; None: there is nothing behind it.
    """

    devices: tuple[Device, ...]
    reached: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token of the admin API, as an operator sees it: everything but its hash."""

    token_id: str
    name: str
    role: Role
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerifier:
    """What decides whether a token is good."""

    token: Token
    token_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRequest:
    """One accepted registration: the serial that was proven, the credential made for it, and the fleet's policy.

    What the device's own policy says goes before the fleet's. `name` (with `{serial}` and `{device_id}` to be filled
    in), `profile`, `tags`, `attributes`, `policy` and `require_approval` are for a device that this creates.
    """

    serial: str
    key: str
    secret_hash: str = field(repr=False)
    reregistration: Reregistration
    grace_seconds: int
    max_keys: int
    require_approval: bool
    key_lifetime_seconds: int = 0
    """0 = no end."""
    address: str = ""
    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    policy: DevicePolicy = DevicePolicy()
    publish: tuple[str, ...] = ()
    """The fleet's topic patterns: the audit names the tags that the device lacks for its topics."""
    subscribe: tuple[str, ...] = ()
    audit_denial: bool = True
    """Whether a denial, which changes nothing, is audited; the caller does it otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIssued:
    """The key is stored and committed; its secret may be answered now."""

    device: Device
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePending:
    """The device waits for approval; no key was stored."""

    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDenied:
    """No key was stored."""

    device: Device
    reason: DeniedReason


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysEnding:
    """How an operator's rotation began, counted in keys that work."""

    keys: int
    """That end after the grace period and would have gone on."""
    ending_sooner: int
    """That end before that by themselves; they keep their end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialConflict:
    """Two entries of an addition that say different things of one serial, by their numbers."""

    serial: str
    first: int
    second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialsAdded:
    """How an addition to the allow-list went, counted in serials; one that it has twice counts once."""

    added: int
    known: int
    """Listed already."""
    replaced: int = 0
    """Of the known ones: those of which it says something else than was said before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookState:
    """How far a webhook is in the change feed, and what became of what it was to be told."""

    name: str
    position: int
    """Everything up to this change was taken, or given up."""
    delivered: int = 0
    """Events that were taken."""
    given_up: int = 0
    """Events that were tried for too long."""
    missed: int = 0
    """Changes that were dropped from the feed before the webhook came to them."""
    delivered_at: int | None = None
    """When an event was taken last."""
    last_error: str = ""
    """Why the last request failed; empty once one was taken."""
