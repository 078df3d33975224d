"""Wills that wait out their delay after their client is gone (MQTT 5.0, 3.1.3.2.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fleetkey.access import Action, OverloadedError
from fleetkey.broker import disk_costs
from fleetkey.broker.due_slots import DueSlots
from fleetkey.broker.memory_costs import MESSAGES, will_bytes
from fleetkey.broker.message import Message
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.codec import Will
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import TopicAuthorizer
    from fleetkey.broker.session import Session
    from fleetkey.broker.work import WorkQueue
    from fleetkey.registry import SteadyClock

    class WillPublisher(Protocol):
        """What publishes a will."""

        def publish(
            self,
            message: Message,
            connection: None,
            session: Session,
            *,
            principal: Principal | None,
            is_retained: bool,
        ) -> None:
            """Publish a message that nobody waits for."""
            ...

    class WillStore(Protocol):
        """What keeps wills across a restart."""

        def add_will(self, session: Session, pending: PendingWill) -> None:
            """Note a will that waits."""
            ...

        def drop_will(self, session: Session, pending: PendingWill) -> None:
            """Note that it doesn't any more."""
            ...


__all__ = ["PendingWill", "PendingWills"]

RETRY_SECONDS = 1.0
"""When a will is tried again whose key couldn't be looked up."""
WILLS_AT_ONCE = 16
"""Wills that are taken from the due ones at a time."""
UNITS_PER_WILL = 16
"""Units of work for publishing a will, besides sending it (`broker.work`)."""


class PendingWill(NamedTuple):
    """A will that waits."""

    will: Will
    key: str
    """Whose it is: what its principal may publish is decided when it is published."""
    due: float
    """When it is published, by `SteadyClock.lasted`, unless its session ends earlier or its client comes back."""


class PendingWills:
    """The wills of sessions that are kept and whose clients are away; at most one for each.

    Args:
        limits: the longest delay.
        publisher: publishes them.
        store: keeps them across a restart.
        topic_authorizer: must allow their topics, too.
        clock: times their delays.
        work: publishes those that are due in turns.
        principal_of: finds the principal of a key that isn't in use any more; None if it isn't valid. It may raise
            `OverloadedError` and `StoreError`.
    """

    def __init__(
        self,
        limits: Limits,
        publisher: WillPublisher,
        store: WillStore,
        topic_authorizer: TopicAuthorizer,
        clock: SteadyClock,
        work: WorkQueue,
        principal_of: Callable[[str], Awaitable[Principal | None]] | None = None,
    ) -> None:
        self._limits = limits
        self._publisher = publisher
        self._store = store
        self._topic_authorizer = topic_authorizer
        self._clock = clock
        self._work = work
        self._principal_of = principal_of
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[Session, PendingWill] = {}
        self._due = DueSlots["Session"]()
        self._unknown: dict[str, list[Session]] = {}
        """Sessions whose wills are due and whose principal has to be looked up, by key."""
        self._is_looking_up = self._is_publishing = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def leave(self, session: Session, will: Will, principal: Principal) -> None:
        """Take the will of a client that is gone: publish it after its delay, or at once if there is none.

        If there is no room for it, it doesn't wait.
        """
        delay = min(will.delay_seconds, self._limits.max_will_delay_seconds, session.expiry_seconds)
        size = will_bytes(will)
        if session.is_over or not delay or not session.memory.charge(MESSAGES, size):
            self._publish(session, will, principal)
            return
        pending = PendingWill(will, principal.key, self._clock.lasted() + delay)
        self._wait(session, pending)
        session.disk.charge_anyway(MESSAGES, disk_costs.will_bytes(will))
        self._store.add_will(session, pending)

    def restore(self, session: Session, pending: PendingWill) -> None:
        """Restore a stored will."""
        self._wait(session, pending)
        session.memory.charge_anyway(MESSAGES, will_bytes(pending.will))
        session.disk.charge_anyway(MESSAGES, disk_costs.will_bytes(pending.will))

    def discard(self, session: Session) -> None:
        """Discard a session's will: its client is there again, or its owner is gone for good."""
        self._take(session)

    def ended(self, session: Session) -> None:
        """Publish a session's will: its delay is over, or it ends before that."""
        pending = self._waiting.get(session)
        if pending is None:
            return
        principal = session.principal
        if principal is not None and principal.key == pending.key:
            self._take(session)
            self._publish(session, pending.will, principal)
        else:
            # After a restart, or after another key of the device was used.
            self._due.discard(session)
            self._unknown.setdefault(pending.key, []).append(session)
            if not self._is_looking_up:
                self._is_looking_up = True
                task = asyncio.get_running_loop().create_task(self._look_up())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def revoke(self, session: Session, principal: Principal) -> None:
        """Discard a session's will if it is of a principal that isn't valid any more."""
        pending = self._waiting.get(session)
        if pending is not None and pending.key == principal.key:
            self._take(session)

    def expire(self, now: float) -> None:
        """Publish the wills whose delay is over, in turns."""
        del now
        if self._waiting and not self._is_publishing and self._due.over(self._clock.lasted(), most=1):
            self._is_publishing = True
            self._work.do_later(self._publish_due())

    async def close(self) -> None:
        """Stop looking up principals; what waits is in the store."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _publish_due(self) -> Iterator[int]:
        """Publish those that are due: a job for `WorkQueue`."""
        try:
            while due := self._due.over(self._clock.lasted(), most=WILLS_AT_ONCE):
                for session in due:
                    self.ended(session)
                    yield UNITS_PER_WILL
        finally:
            self._is_publishing = False

    def _wait(self, session: Session, pending: PendingWill) -> None:
        self._waiting[session] = pending
        self._due.add(session, pending.due)

    def _take(self, session: Session) -> PendingWill | None:
        pending = self._waiting.pop(session, None)
        if pending is not None:
            self._due.discard(session)
            session.memory.release(MESSAGES, will_bytes(pending.will))
            session.disk.release(MESSAGES, disk_costs.will_bytes(pending.will))
            self._store.drop_will(session, pending)
        return pending

    async def _look_up(self) -> None:
        """Find out whose wills are due, key by key. While the registry can't be read, they wait."""
        try:
            while self._unknown:
                await self._look_up_next()
        finally:
            # Not when the task's callbacks run: what is added before that would wait for ever.
            self._is_looking_up = False

    async def _look_up_next(self) -> None:
        key = next(iter(self._unknown))
        try:
            principal = await self._principal_of(key) if self._principal_of is not None else None
        except (OverloadedError, StoreError):
            for session in self._unknown.pop(key):
                if session in self._waiting:
                    self._due.add(session, self._clock.lasted() + RETRY_SECONDS)
        else:
            self._work.do_later(self._publish_of(key, self._unknown.pop(key), principal))

    def _publish_of(self, key: str, sessions: list[Session], principal: Principal | None) -> Iterator[int]:
        """Publish the wills of a key whose principal is known now, or discard them: a job for `WorkQueue`."""
        for session in sessions:
            pending = self._waiting.get(session)
            if pending is not None and pending.key == key:
                self._take(session)
                if principal is not None:
                    self._publish(session, pending.will, principal)
            yield UNITS_PER_WILL

    def _publish(self, session: Session, will: Will, principal: Principal) -> None:
        """Publish a will if it is still allowed: it was at CONNECT (`access/login/claims.py`)."""
        if not (
            principal.allows(Action.PUBLISH, will.topic)
            and self._topic_authorizer.allow(session, Action.PUBLISH, will.topic)
        ):
            return
        message = Message(will.topic, will.topic.encode(), will.payload, will.qos, session.owner, will.properties)
        message.is_retained = will.is_retained
        if will.expiry_seconds is not None:
            most = self._limits.max_message_expiry_seconds
            message.expires_at = self._clock.lasted() + min(will.expiry_seconds, most)
        self._publisher.publish(message, None, session, principal=principal, is_retained=will.is_retained)
