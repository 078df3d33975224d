"""What happens to a device or an application as a whole: disconnected, revoked, or deleted with everything it left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec import Reason

if TYPE_CHECKING:
    from fleetkey.access import Principal
    from fleetkey.broker.handlers import ConnectHandler
    from fleetkey.broker.retained import RetainedMessages
    from fleetkey.broker.sessions import Sessions
    from fleetkey.broker.store import BrokerStore

__all__ = ["Owners"]


class Owners:
    """Ends connections, sessions and retained messages by their owner: a device id or an application's key."""

    def __init__(
        self, sessions: Sessions, retained: RetainedMessages, store: BrokerStore, connect_handler: ConnectHandler
    ) -> None:
        self._sessions = sessions
        self._retained = retained
        self._store = store
        self._connect_handler = connect_handler

    def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections; return how many there were."""
        found = [session.connection for session in self._sessions.of_owner(owner) if session.connection is not None]
        for connection in found:
            connection.close(reason, is_graceful=not sends_will)
        return len(found)

    def revoke(self, principal: Principal) -> None:
        """Close the connections of a revoked principal, without their wills."""
        for session in self._sessions.of_owner(principal.owner):
            if session.principal is principal and session.connection is not None:
                self._connect_handler.revoke(session.connection)

    def forget(self, owner: str) -> None:
        """Remove everything of a deleted device or a retired application key: sessions, queues, retained messages."""
        for session in self._sessions.of_owner(owner):
            if session.connection is not None:
                session.connection.abort(Reason.DELETED)
            self._sessions.drop(session)
        for topic in self._retained.drop_of(owner):
            self._store.drop_retained(topic)
