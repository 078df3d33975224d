"""Who a connection belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import Action, decide, receives
from fleetkey.access.protection.allowed_networks import AllowedNetworks
from fleetkey.registry import NO_POLICY

if TYPE_CHECKING:
    from fleetkey.access.decisions.scope import TopicScope
    from fleetkey.registry import ApplicationScope, ChangeKind, DevicePolicy, KeyKind

__all__ = ["Principal"]

ANYWHERE = AllowedNetworks(())


class Principal:
    """Who a connection belongs to, determined at CONNECT from its key; what the client sends later never changes it.

    All connections with the same key share one principal. Only the authenticator changes it: its scope, when the tags
    behind it change; `expires_at`; and `is_revoked`, once, when the key or its device stops being valid.
    """

    __slots__ = (
        "__weakref__",
        "allowed_networks",
        "device_id",
        "expires_at",
        "follows_devices",
        "is_revoked",
        "key",
        "kind",
        "name",
        "policy",
        "reach",
        "revoked_by",
        "scope",
    )

    def __init__(
        self,
        *,
        key: str,
        kind: KeyKind,
        device_id: str | None,
        name: str | None,
        scope: TopicScope,
        allowed_networks: AllowedNetworks = ANYWHERE,
        follows_devices: bool = True,
        policy: DevicePolicy = NO_POLICY,
    ) -> None:
        self.key = key
        self.kind = kind
        self.device_id = device_id
        self.name = name
        self.scope = scope
        self.allowed_networks = allowed_networks
        """Where it may connect from."""
        self.follows_devices = follows_devices
        """Whether a change to a device's tags may change its scope."""
        self.policy = policy
        """What its device got from its profile; it never changes."""
        self.reach: ApplicationScope | None = None
        """What an application's scope was compiled from; None for a device."""
        self.expires_at: int | None = None
        """When its key expires, in milliseconds since 1970; None for never."""
        self.is_revoked = False
        self.revoked_by: ChangeKind | None = None

    @property
    def owner(self) -> str:
        """The owner of its sessions: the device, whichever of its keys it uses, or the application key."""
        return self.device_id or self.key

    def allows(self, action: Action, topic: str) -> bool:
        """Decide an action on a topic, as of now; a revoked principal may do nothing."""
        return not self.is_revoked and decide(self.scope, action, topic)

    def may_receive(self, topic: str) -> bool:
        """Decide RECEIVE for a topic that is known to be well-formed, as one that was published is."""
        return not self.is_revoked and receives(self.scope, topic)

    def allows_filter(self, topic_filter: str) -> bool:
        """Decide a subscription for a broker that asks `allows` again for each delivery: live, retained and queued."""
        return not self.is_revoked and decide(self.scope, Action.SUBSCRIBE, topic_filter, each_delivery_is_decided=True)

    def __repr__(self) -> str:
        """Return the identifiers."""
        return f"Principal({self.kind}, key={self.key}, device_id={self.device_id}, is_revoked={self.is_revoked})"
