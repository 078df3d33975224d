"""The schemas of access keys and of requests to create them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from fleetkey.management.schemas.times import Time, shown_time, when
from fleetkey.management.schemas.values import Expires, Ids, Key, KeySecret, Labels
from fleetkey.registry import KeyKind, KeyStatus

if TYPE_CHECKING:
    from fleetkey.access import Secret
    from fleetkey.registry import AccessKey, ApplicationScope

__all__ = ["CreatedKeyAnswer", "KeyAnswer", "KeyBody", "KeyPage", "ScopeAnswer", "ScopeBody"]


class ScopeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an application key may access."""

    all_devices: bool
    device_ids: list[str]
    tags: dict[str, str]
    publish: list[str]
    subscribe: list[str]

    @classmethod
    def of(cls, scope: ApplicationScope) -> Self:
        """Return a scope of the registry in this schema."""
        return cls(
            all_devices=scope.all_devices,
            device_ids=list(scope.device_ids),
            tags=dict(scope.tags),
            publish=list(scope.publish),
            subscribe=list(scope.subscribe),
        )


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An access key; its secret is not stored and can't be shown."""

    key: Key
    kind: KeyKind
    status: KeyStatus
    device_id: str | None
    name: str | None
    description: str
    scope: ScopeAnswer | None
    sources: list[str]
    created_at: Time
    first_connected_at: Time | None
    expires_at: Time | None
    retired_at: Time | None
    retired_reason: str | None
    online: Annotated[
        bool | None,
        msgspec.Meta(description="Whether an application is connected with it; null for a device's key."),
    ]
    last_seen_at: Time | None
    connected_at: Time | None
    disconnected_at: Time | None
    address: str
    disconnect_reason: str

    @classmethod
    def of(cls, key: AccessKey) -> Self:
        """Return a key of the registry in this schema."""
        return cls(
            key=key.key,
            kind=key.kind,
            status=key.status,
            device_id=key.device_id,
            name=key.name,
            description=key.description,
            scope=ScopeAnswer.of(key.scope) if key.scope else None,
            sources=list(key.sources),
            created_at=shown_time(key.created_at),
            first_connected_at=when(key.first_connected_at),
            expires_at=when(key.expires_at),
            retired_at=when(key.retired_at),
            retired_reason=key.retired_reason,
            online=key.presence.is_online if key.kind is KeyKind.APPLICATION else None,
            last_seen_at=when(key.presence.last_seen_at),
            connected_at=when(key.presence.connected_at),
            disconnected_at=when(key.presence.disconnected_at),
            address=key.presence.address,
            disconnect_reason=key.presence.reason,
        )


class CreatedKeyAnswer(KeyAnswer, frozen=True, kw_only=True):
    """A new application key; the secret is shown here and never again."""

    secret: KeySecret

    def __repr__(self) -> str:
        """Show the key, but not its secret."""
        return f"CreatedKeyAnswer(key={self.key!r})"

    @classmethod
    def with_secret(cls, key: KeyAnswer, secret: Secret) -> Self:
        """Return a new key with its secret in plain text."""
        return cls(**msgspec.structs.asdict(key), secret=secret.reveal())

    def without_secret(self) -> KeyAnswer:
        """Return the key without its secret, as it is shown from now on."""
        return KeyAnswer(**{name: getattr(self, name) for name in KeyAnswer.__struct_fields__})


class KeyPage(msgspec.Struct):
    """Keys, oldest first. A page may be short and still have a `next_cursor`; null means the list is complete."""

    items: list[KeyAnswer]
    next_cursor: str | None


class ScopeBody(msgspec.Struct, forbid_unknown_fields=True):
    """What an application key may access."""

    all_devices: bool = False
    device_ids: Ids = []
    tags: Labels = {}
    publish: list[str] = []
    subscribe: list[str] = []


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key for a back end."""

    name: str
    scope: Annotated[
        ScopeBody,
        msgspec.Meta(description="What it may access: devices by id or tag, or all of them, and its own topics."),
    ]
    description: str = ""
    sources: list[str] = []
    expires: Expires = None
