"""What happens to a device or an application as a whole: disconnected, revoked, or deleted with everything it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fleetkey.broker.codec import Reason
from fleetkey.broker.work import filter_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.handlers import ConnectHandler
    from fleetkey.broker.pending_wills import PendingWills
    from fleetkey.broker.retained import RetainedMessage, RetainedMessages
    from fleetkey.broker.session import ClientSink, Session
    from fleetkey.broker.sessions import Sessions
    from fleetkey.broker.store import BrokerStore
    from fleetkey.broker.work import WorkQueue

__all__ = ["Owners"]

Item = TypeVar("Item")

UNITS_PER_END = 64
"""Units of work for ending a connection or a session."""


class Owners:
    """Ends connections, sessions and retained messages by their owner: a device id or an application's key."""

    def __init__(
        self,
        sessions: Sessions,
        retained: RetainedMessages,
        store: BrokerStore,
        connect_handler: ConnectHandler,
        wills: PendingWills,
        work: WorkQueue,
    ) -> None:
        self._wills = wills
        self._sessions = sessions
        self._retained = retained
        self._store = store
        self._connect_handler = connect_handler
        self._work = work

    def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections, a few per turn; return how many there were."""
        found = [session.connection for session in self._sessions.of_owner(owner) if session.connection is not None]
        self._work.do(_each(found, lambda connection: connection.close(reason, is_graceful=not sends_will)))
        return len(found)

    def revoke(self, principal: Principal) -> None:
        """Close the connections of a revoked principal, without their wills.

        None of them is sent anything from now on; closing them takes turns. One that has no CONNACK yet is refused.
        """
        found: list[ClientSink] = []
        for session in self._sessions.of_owner(principal.owner):
            connection = session.connection
            self._wills.revoke(session, principal)
            if session.principal is principal and connection is not None:
                found.append(connection)
                if not connection.is_deciding:
                    connection.stop()
        self._work.do(_each(found, self._connect_handler.revoke))

    def discard_wills(self, owner: str) -> None:
        """Discard the wills that wait, also of a key that wasn't used since the start: it may be valid again later."""
        for session in self._sessions.of_owner(owner):
            self._wills.discard(session)

    def forget(self, owner: str) -> None:
        """Remove everything of a deleted device or a retired application key: sessions, queues, retained messages.

        Its sessions are removed a few per turn, its retained messages are hidden at once and removed in turns.
        """
        self._work.do(_each(self._sessions.of_owner(owner), self._drop))
        self._work.do(self._drop_retained(self._retained.forget(owner)))

    def _drop(self, session: Session) -> None:
        self._wills.discard(session)
        if session.connection is not None:
            session.connection.abort(Reason.DELETED)
        self._sessions.drop(session)

    def _drop_retained(self, removed: Iterator[RetainedMessage | None]) -> Iterator[int]:
        """Remove messages that nobody gets any more: a job for `WorkQueue`, as there may be many."""
        for message in removed:
            if message is None:
                yield 1
            else:
                self._store.drop_retained(message.topic, message)
                yield filter_cost(message.topic)


def _each(items: list[Item], end: Callable[[Item], None]) -> Iterator[int]:
    """End sessions or connections: a job for `WorkQueue`."""
    for item in items:
        end(item)
        yield UNITS_PER_END
