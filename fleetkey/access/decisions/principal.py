"""Who a connection is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import Action, TopicScope, decide
from fleetkey.access.protection.allowed_networks import AllowedNetworks

if TYPE_CHECKING:
    from fleetkey.access.decisions.scope import Reach
    from fleetkey.registry import ChangeKind, KeyKind

__all__ = ["Principal"]

ANYWHERE = AllowedNetworks(())


class Principal:
    """Who a connection is, fixed at CONNECT from its key; nothing later is decided from what the client says.

    All connections with one key share one principal. The authenticator alone changes it: `scope`, when the tags that
    it came from change, and `is_revoked`, once, when the key or its device stops being valid.
    """

    __slots__ = (
        "__weakref__",
        "device_id",
        "expires_at",
        "follows_devices",
        "is_revoked",
        "key",
        "kind",
        "name",
        "reach",
        "revoked_by",
        "scope",
        "sources",
    )

    def __init__(
        self,
        *,
        key: str,
        kind: KeyKind,
        device_id: str | None,
        name: str | None,
        scope: TopicScope,
        sources: AllowedNetworks = ANYWHERE,
        follows_devices: bool = True,
    ) -> None:
        self.key = key
        self.kind = kind
        self.device_id = device_id
        self.name = name
        self.scope = scope
        self.sources = sources
        """From where it may connect."""
        self.follows_devices = follows_devices
        """Whether its scope may change when some device's tags do."""
        self.reach: Reach | None = None
        """Which devices an application's scope was compiled of."""
        self.expires_at: int | None = None
        """When its key ends, in milliseconds since 1970."""
        self.is_revoked = False
        self.revoked_by: ChangeKind | None = None

    @property
    def owner(self) -> str:
        """Whose sessions it may take over: the device, whichever of its keys it uses, or this application key."""
        return self.device_id or self.key

    def allows(self, action: Action, topic: str) -> bool:
        """Decide an action on a topic, at this moment; a revoked principal may do nothing."""
        return not self.is_revoked and decide(self.scope, action, topic)

    def __repr__(self) -> str:
        """Return the identifiers."""
        return f"Principal({self.kind}, key={self.key}, device_id={self.device_id}, is_revoked={self.is_revoked})"
