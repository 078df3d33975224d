"""The shapes of the admin API's answers: for its description, and for clients that read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from fleetkey.registry import DeviceState, KeyKind, KeyStatus, Reregistration, Role

__all__ = [
    "AboutAnswer",
    "AddedAnswer",
    "AuditAnswer",
    "AuditPage",
    "BulkAnswer",
    "CreatedKeyAnswer",
    "CreatedTokenAnswer",
    "DeviceAnswer",
    "DevicePage",
    "KeyAnswer",
    "KeyPage",
    "LosantKeyAnswer",
    "MqttAnswer",
    "PolicyAnswer",
    "RotationAnswer",
    "ScopeAnswer",
    "SerialAnswer",
    "SerialPage",
    "TokenAnswer",
    "TokenPage",
    "TrialAnswer",
    "WebhookAnswer",
    "WebhookPage",
]

DeviceId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]
Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
KeySecret = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
TokenId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]


class PolicyAnswer(msgspec.Struct):
    """What a profile said when the device was created; what it didn't say is left out, and follows the settings."""

    reregistration: Reregistration | msgspec.UnsetType = msgspec.UNSET
    grace_seconds: int | msgspec.UnsetType = msgspec.UNSET
    max_keys: int | msgspec.UnsetType = msgspec.UNSET
    key_lifetime_seconds: int | msgspec.UnsetType = msgspec.UNSET
    publish: list[str] | msgspec.UnsetType = msgspec.UNSET
    subscribe: list[str] | msgspec.UnsetType = msgspec.UNSET


class DeviceAnswer(msgspec.Struct):
    """A device."""

    device_id: DeviceId
    serial: str
    state: DeviceState
    name: str
    tags: dict[str, str]
    attributes: dict[str, str]
    profile: str | None
    policy: PolicyAnswer
    online: bool
    last_seen_at: datetime | None
    connected_at: datetime | None
    disconnected_at: datetime | None
    address: str
    disconnect_reason: str
    created_at: datetime
    updated_at: datetime


class SerialAnswer(msgspec.Struct):
    """A serial of the allow-list, and what its device gets."""

    serial: str
    name: str
    profile: str | None
    tags: dict[str, str]
    attributes: dict[str, str]


class ScopeAnswer(msgspec.Struct):
    """What an application key reaches."""

    all_devices: bool
    device_ids: list[str]
    tags: dict[str, str]
    publish: list[str]
    subscribe: list[str]


class KeyAnswer(msgspec.Struct):
    """An access key; its secret is not stored and can't be shown."""

    key: Key
    kind: KeyKind
    status: KeyStatus
    device_id: str | None
    name: str | None
    description: str
    scope: ScopeAnswer | None
    sources: list[str]
    created_at: datetime
    first_connected_at: datetime | None
    expires_at: datetime | None
    retired_at: datetime | None
    retired_reason: str | None


class CreatedKeyAnswer(KeyAnswer):
    """A new application key; the secret is shown here and never again."""

    secret: KeySecret


class LosantKeyAnswer(msgspec.Struct):
    """A new application key as Losant answers it; the secret is shown here and never again."""

    name: str
    description: str
    deviceIds: list[str]  # noqa: N815 - the wire's spelling
    deviceTags: list[dict[str, str]]  # noqa: N815 - the wire's spelling
    filterType: str  # noqa: N815 - the wire's spelling
    pubTopics: list[str]  # noqa: N815 - the wire's spelling
    subTopics: list[str]  # noqa: N815 - the wire's spelling
    key: Key
    secret: KeySecret
    status: KeyStatus


class AuditAnswer(msgspec.Struct):
    """An audit entry."""

    seq: int
    at: datetime
    actor: str
    action: str
    outcome: str
    reason: str
    address: str
    serial: str | None
    device_id: str | None
    key: str | None
    by_stranger: bool


class TokenAnswer(msgspec.Struct):
    """A bearer token; its text is not stored and can't be shown."""

    token_id: TokenId
    name: str
    role: Role
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedTokenAnswer(TokenAnswer):
    """A new token; its text is shown here and never again."""

    token: Annotated[str, msgspec.Meta(pattern="^fkt_[0-9a-f]{12}_[0-9a-f]{64}$")]


class WebhookAnswer(msgspec.Struct):
    """A webhook of the settings; `to` is without path and query."""

    name: str
    to: str
    events: list[str]
    behind: int
    delivered: int
    given_up: int
    missed: int
    delivered_at: datetime | None
    last_error: str


class TrialAnswer(msgspec.Struct):
    """How a trial was answered: `status` if it was taken, otherwise `reason`."""

    webhook: str
    taken: bool
    status: int | None
    reason: str
    milliseconds: int


class AddedAnswer(msgspec.Struct):
    """How an addition to the allow-list went: so many new ones, listed already, and of these with other details now."""

    added: int
    known: int
    replaced: int


class BulkAnswer(msgspec.Struct):
    """How a change to many went; with a `next_cursor`, send the same again with it."""

    changed: int
    unchanged: int
    next_cursor: str | None


class RotationAnswer(msgspec.Struct):
    """How a rotation began: so many keys end after the grace period, others sooner by themselves."""

    device_id: DeviceId
    keys: int
    ending_sooner: int
    grace_seconds: int


class MqttAnswer(msgspec.Struct):
    """Where the broker is; `host` null: the host at which this server was reached."""

    host: str | None
    port: int
    tls: bool


class AboutAnswer(msgspec.Struct):
    """The server, and the token that asks."""

    version: str
    token: TokenAnswer
    mqtt: MqttAnswer


# Each page by itself: in a generic one, what the items are would be lost to the description.


class DevicePage(msgspec.Struct):
    """Devices in order of id. It may be short, or empty, and have a `next_cursor`; null: that was all."""

    items: list[DeviceAnswer]
    next_cursor: str | None


class SerialPage(msgspec.Struct):
    """Serials in order. `next_cursor` null: that was all."""

    items: list[SerialAnswer]
    next_cursor: str | None


class KeyPage(msgspec.Struct):
    """Keys in order of issue. `next_cursor` null: that was all."""

    items: list[KeyAnswer]
    next_cursor: str | None


class AuditPage(msgspec.Struct):
    """Audit entries. It may be short, or empty, and have a `next_cursor`; null: that was all."""

    items: list[AuditAnswer]
    next_cursor: str | None


class TokenPage(msgspec.Struct):
    """Tokens in order of making. `next_cursor` null: that was all."""

    items: list[TokenAnswer]
    next_cursor: str | None


class WebhookPage(msgspec.Struct):
    """All webhooks, in the order of the settings; `next_cursor` is null."""

    items: list[WebhookAnswer]
    next_cursor: str | None
