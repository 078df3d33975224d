"""What happens to a device or an application as a whole: disconnected, revoked, or deleted with everything it left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec import Reason
from fleetkey.broker.work import filter_cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.handlers import ConnectHandler
    from fleetkey.broker.retained import RetainedMessage, RetainedMessages
    from fleetkey.broker.sessions import Sessions
    from fleetkey.broker.store import BrokerStore
    from fleetkey.broker.work import WorkQueue

__all__ = ["Owners"]


class Owners:
    """Ends connections, sessions and retained messages by their owner: a device id or an application's key."""

    def __init__(
        self,
        sessions: Sessions,
        retained: RetainedMessages,
        store: BrokerStore,
        connect_handler: ConnectHandler,
        work: WorkQueue,
    ) -> None:
        self._sessions = sessions
        self._retained = retained
        self._store = store
        self._connect_handler = connect_handler
        self._work = work

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
        self._work.do(self._drop_retained(self._retained.forget(owner)))

    def _drop_retained(self, removed: Iterator[RetainedMessage | None]) -> Iterator[int]:
        """Remove messages that nobody gets any more: a job for `WorkQueue`, as there may be many."""
        for message in removed:
            if message is None:
                yield 1
            else:
                self._store.drop_retained(message.topic, message)
                yield filter_cost(message.topic)
