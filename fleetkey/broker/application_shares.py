"""How much of the broker each application key uses, so that none of them uses all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry import is_device

if TYPE_CHECKING:
    from fleetkey.access import Principal
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.session import Session

__all__ = ["ApplicationShares"]


class _Share:
    __slots__ = ("connections", "filters", "sessions")

    def __init__(self) -> None:
        self.connections = 0
        """Sockets that a client of the key authenticated on, until they are closed."""
        self.sessions = 0
        """Connected or not."""
        self.filters = 0
        """In all of its sessions."""

    def __bool__(self) -> bool:
        return bool(self.connections or self.sessions or self.filters)


class ApplicationShares:
    """Counts each application key's connections, sessions and filters, and decides whether it may have one more.

    A device has one session with one connection, and the server's own sessions have no owner, so neither is counted.
    A key is forgotten when it has nothing left, so there are at most as many as sessions and connections.
    """

    def __init__(self, limits: Limits, bounds: BoundLog) -> None:
        self._limits = limits
        self._bounds = bounds
        self._shares: dict[str, _Share] = {}
        self._owners: dict[object, str] = {}
        """Whose each connection is."""

    def __len__(self) -> int:
        """Return how many keys have anything."""
        return len(self._shares)

    def bound_reached(self, principal: Principal, existing: Session | None) -> str:
        """Return which bound keeps a client from connecting, empty if none; counts it, and logs it once per key.

        Args:
            principal: who it is.
            existing: the session of its client id, if there is one; it may always be taken over.
        """
        if principal.device_id is not None or (existing is not None and existing.connection is not None):
            return ""
        share, limits = self._shares.get(principal.owner), self._limits
        if share is None:
            return ""
        if share.connections >= limits.max_connections_per_application:
            bound = "max_connections_per_application"
        elif existing is None and share.sessions >= limits.max_sessions_per_application:
            bound = "max_sessions_per_application"
        else:
            return ""
        self._bounds.reached(bound, owner=principal.owner)
        return bound

    def has_room_for_filter(self, owner: str) -> bool:
        """Decide whether an owner may have one more filter; counts, and logs once per key, that it may not."""
        share = self._shares.get(owner)
        if share is None or share.filters < self._limits.max_filters_per_application:
            return True
        self._bounds.reached("max_filters_per_application", owner=owner)
        return False

    def connected(self, connection: object, principal: Principal) -> None:
        """Count a connection that was accepted."""
        if principal.device_id is None:
            self._owners[connection] = principal.owner
            self._share(principal.owner).connections += 1

    def disconnected(self, connection: object) -> None:
        """Uncount a connection whose socket is closed; safe to call again."""
        owner = self._owners.pop(connection, None)
        if owner is not None:
            self._shares[owner].connections -= 1
            self._tidy(owner)

    def session_added(self, owner: str) -> None:
        """Count a new or restored session."""
        if _is_counted(owner):
            self._share(owner).sessions += 1

    def session_ended(self, owner: str, filters: int) -> None:
        """Uncount a session and the number of filters that it had."""
        if _is_counted(owner):
            share = self._shares[owner]
            share.sessions -= 1
            share.filters -= filters
            self._tidy(owner)

    def filters_added(self, owner: str, count: int = 1) -> None:
        """Count filters that a session has in addition; a negative `count` uncounts them."""
        if _is_counted(owner):
            self._share(owner).filters += count
            self._tidy(owner)

    def _share(self, owner: str) -> _Share:
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = _Share()
        return share

    def _tidy(self, owner: str) -> None:
        if not self._shares[owner]:
            del self._shares[owner]


def _is_counted(owner: str) -> bool:
    return bool(owner) and not is_device(owner)
