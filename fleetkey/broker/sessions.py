"""Opens, takes over, detaches, expires, drops and restores sessions (MQTT 3.1.1, 3.1.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from fleetkey.access import is_shared
from fleetkey.broker import disk_costs
from fleetkey.broker.codec import ProtocolError, Reason
from fleetkey.broker.due_slots import DueSlots
from fleetkey.broker.ending_sessions import EndingSessions
from fleetkey.broker.memory_costs import (
    CONNECTION_BYTES,
    INBOUND_BYTES,
    MESSAGES,
    SESSIONS,
    session_bytes,
)
from fleetkey.broker.message_charges import charge_delivery_anyway, release_delivery
from fleetkey.broker.replay_queue import ENTRIES_PER_UNIT, is_replay_wanted, merged
from fleetkey.broker.session import NONE, RetainedReplay, Session
from fleetkey.broker.session_cleanup import SessionCleanup
from fleetkey.broker.shared_groups import SharedGroups
from fleetkey.broker.work import filter_cost
from fleetkey.registry import is_device

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.accounts import Accounts
    from fleetkey.broker.application_shares import ApplicationShares
    from fleetkey.broker.codec import Connect, SubscriptionOptions
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.message import OutboundMessage
    from fleetkey.broker.pending_wills import PendingWills
    from fleetkey.broker.route_cache import RouteCache
    from fleetkey.broker.session import ClientSink
    from fleetkey.broker.store import BrokerStore, StoredSession
    from fleetkey.broker.subscriptions import SubscriptionTrie
    from fleetkey.broker.work import WorkQueue
    from fleetkey.registry import SteadyClock

__all__ = ["OpenedSession", "Sessions"]

log = structlog.get_logger(__name__)

MAX_EXPIRED_PER_TICK = 50
"""Expired sessions dropped per tick; the others follow in the next ticks."""


class OpenedSession(NamedTuple):
    """The session opened for a connection."""

    session: Session
    is_present: bool
    """Whether it existed before (3.2.2.2)."""
    position: int
    """The store's position once an older session is deleted; 0 = nothing to wait for."""


class Sessions:
    """All sessions, by client id, and their subscriptions."""

    def __init__(
        self,
        limits: Limits,
        subscriptions: SubscriptionTrie,
        routes: RouteCache,
        delivery: Delivery,
        store: BrokerStore,
        work: WorkQueue,
        clock: SteadyClock,
        accounts: Accounts,
        applications: ApplicationShares,
        wills: PendingWills,
    ) -> None:
        self._limits = limits
        self._wills = wills
        self.groups = SharedGroups(limits, subscriptions, routes)
        """Of shared subscriptions."""
        self._accounts = accounts
        self._subscriptions = subscriptions
        self._routes = routes
        self._delivery = delivery
        self._store = store
        self._work = work
        self._clock = clock
        self._applications = applications
        self._by_client_id: dict[str, Session] = {}
        self._by_key: dict[str, dict[Session, None]] = {}
        """By application key; a device has at most one session, named by its id."""
        self._away = DueSlots[Session]()
        """Kept sessions whose clients are away, by when they expire."""
        self._ending = EndingSessions(store)
        self._cleanup = SessionCleanup(store, self._ending, work)

    def __len__(self) -> int:
        """Return the number of sessions, connected or not."""
        return len(self._by_client_id)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over all sessions."""
        return iter(self._by_client_id.values())

    def get(self, client_id: str) -> Session | None:
        """Return a client's session."""
        return self._by_client_id.get(client_id)

    def of_owner(self, owner: str) -> list[Session]:
        """Return the sessions of a device, which has at most one, or of an application key."""
        if is_device(owner):
            session = self._by_client_id.get(owner)
            return [session] if session is not None else []
        return list(self._by_key.get(owner, ()))

    def restore(self, sessions: Iterable[StoredSession]) -> None:
        """Restore stored sessions. Blocks: call it before serving."""
        latest = self._clock.lasted() + self._limits.session_expiry_seconds
        for stored in sessions:
            session = self._restored(stored)
            # None: it was connected when the process ended. No session may expire later than one detached now.
            most = min(latest, self._clock.lasted() + session.expiry_seconds)
            session.expires_at = min(stored.expires_at or most, latest)
            self._index(session)
            self._applications.session_added(session.owner)
            self._applications.filters_added(session.owner, len(session.subscriptions))
            if stored.will is not None:
                self._wills.restore(session, stored.will)
            self._away.add(session, session.expires_at)

    def open(self, connection: ClientSink, connect: Connect, principal: Principal, client_id: str) -> OpenedSession:
        """Give a connection its session: an existing one or a new one.

        If it has subscriptions, `reroute` must finish before anything is delivered to the connection.
        """
        existing = self._by_client_id.get(client_id)
        if existing is not None and existing.connection is not None:
            existing.connection.close(Reason.SESSION_TAKEN_OVER)
            # A session that isn't persistent ended with its connection.
            existing = self._by_client_id.get(client_id)
        if existing is not None and (connect.clean_start or self._has_expired(existing)):
            self.drop(existing)
            existing = None
        if existing is None and self._ending.is_lost(client_id):
            self._store.drop_sessions_of(client_id)
            self._ending.add(client_id, self._store.position)
        # Also if it was dropped earlier and its client was told to try again.
        position = self._ending.position(client_id)
        expiry = self.capped_expiry(connect.session_expiry_seconds)
        if existing is not None:
            session = existing
            self._come_back(session, expiry)
        else:
            session = self.add(client_id, principal.owner, is_kept=expiry > 0, expiry_seconds=expiry)
        session.principal, session.connection, session.is_drop_logged = principal, connection, False
        self.groups.come_back(session)
        return OpenedSession(session=session, is_present=existing is not None, position=position)

    def capped_expiry(self, seconds: int | None) -> int:
        """Return for how long a session is kept if its client asks for so many seconds; None = as long as possible."""
        most = self._limits.session_expiry_seconds
        return most if seconds is None else min(seconds, most)

    def change_expiry(self, session: Session, seconds: int) -> None:
        """Change for how long a session is kept, as its client leaves (MQTT 5.0, 3.14.2.2.2)."""
        if seconds and not session.expiry_seconds:
            msg = "a session that was not to be kept is to be kept after all"
            raise ProtocolError(msg)
        session.expiry_seconds = self.capped_expiry(seconds)

    def _has_expired(self, session: Session) -> bool:
        """Whether a session should have been dropped by now."""
        return session.expires_at is not None and session.expires_at <= self._clock.lasted()

    def is_ending(self, client_id: str) -> bool:
        """Whether the store may still have an ended session of a client."""
        return self._ending.position(client_id) > 0

    def must_store(self, connect: Connect, client_id: str) -> bool:
        """Whether a client can be let in only once something is stored: its new session, or the end of an older one."""
        existing = self._by_client_id.get(client_id)
        is_there = existing is not None and existing.is_kept
        return connect.is_session_kept if not is_there else connect.clean_start

    def reroute(self, session: Session) -> Iterator[int]:
        """Invalidate the routes that its filters affect, as its principal may have changed: a job for `WorkQueue`."""
        # A copy: the host may subscribe for the client in the meantime.
        for topic_filter in list(session.subscriptions):
            yield self._routes.changed(topic_filter)

    def resume(self, session: Session) -> None:
        """Send a session everything not yet sent or acknowledged."""
        self._delivery.resume(session)

    def bound_reached(self, owner: str, client_id: str, *, is_kept: bool) -> str:
        """Return which bound prevents a new client from connecting: there is no room for its session and connection.

        Returns:
            the bound; empty if there is room.
        """
        if client_id in self._by_client_id:
            # Who is in may come back, and take what waits.
            return ""
        memory, size = self._accounts.memory_of(owner), CONNECTION_BYTES + session_bytes(client_id, owner)
        if not memory.has_room(size):
            return memory.bound_reached(size)
        if not is_kept:
            return ""
        disk, size = self._accounts.disk_of(owner), disk_costs.session_bytes(client_id, owner)
        return disk.bound_reached(size) if not disk.has_room(size) else ""

    def add(self, client_id: str, owner: str, *, is_kept: bool, expiry_seconds: int | None = None) -> Session:
        """Create a session without a connection; see `bound_reached`."""
        session = self._new(client_id, owner, is_kept=is_kept)
        session.expiry_seconds = self.capped_expiry(expiry_seconds) if is_kept else 0
        self._index(session)
        self._applications.session_added(owner)
        if is_kept:
            self._store.add_session(session)
        return session

    def leave(self, session: Session) -> None:
        """Detach a session from its connection: it is kept for its client, or ends."""
        session.connection = None
        if not session.expiry_seconds:
            self.drop(session)
            return
        session.expires_at = self._clock.lasted() + session.expiry_seconds
        self._away.add(session, session.expires_at)
        self._store.set_expiry(session)

    def drop(self, session: Session) -> None:
        """Delete a session and everything in it, once; its removal from the trie follows in pieces."""
        if session.is_over:
            return
        session.is_over = True
        self._wills.ended(session)
        self._applications.session_ended(session.owner, len(session.subscriptions))
        self._away.discard(session)
        session.memory.release(SESSIONS, session_bytes(session.client_id, session.owner))
        session.memory.release(MESSAGES, INBOUND_BYTES * len(session.inbound))
        if session.is_kept:
            session.disk.release(SESSIONS, disk_costs.session_bytes(session.client_id, session.owner))
        filters, session.subscriptions = session.subscriptions, {}
        queue, inflight = session.queue, session.inflight
        session.queue = session.unsent = session.resending = NONE
        session.inflight, session.replays = {}, {}
        if self._by_client_id.get(session.client_id) is session:
            self._unindex(session)
        if session.row:
            self._store.drop_session(session)
            self._ending.add(session.client_id, self._store.position)
        if filters or queue or inflight:
            self._work.do(self._take_out(session, filters, queue, inflight), session.owner)

    def expire(self, now: float) -> None:
        """Drop expired sessions, `MAX_EXPIRED_PER_TICK` at a time, and those that should have been dropped earlier."""
        del now
        for session in self._away.over(self._clock.lasted(), most=MAX_EXPIRED_PER_TICK):
            log.info("session_expired", client_id=session.client_id)
            self.drop(session)
        self._cleanup.start_if_due(self._by_client_id.values())

    def add_subscription(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> int:
        """Add or replace a granted subscription (3.8.4-3), and queue its retained messages.

        Returns:
            the units of work done, besides those of the filter.
        """
        is_new = topic_filter not in session.subscriptions
        if is_new:
            self._applications.filters_added(session.owner)
            session.charge_filter(topic_filter)
        session.subscriptions[topic_filter] = options
        cost = self._enter(session, topic_filter, options)
        replay_cost = 0
        if not is_shared(topic_filter) and is_replay_wanted(options, is_new=is_new):
            replay_cost = self._delivery.schedule_replay(session, topic_filter, options)
        if session.is_kept:
            note = self._store.add_subscription if is_new else self._store.change_subscription
            note(session, topic_filter, options, is_replay_due=replay_cost > 0)
        return cost + replay_cost

    def _enter(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> int:
        """Enter a subscription into the tree, or into its group; return the units of work done."""
        if is_shared(topic_filter):
            return self.groups.add(session, topic_filter, options)
        self._subscriptions.add(topic_filter, session, options)
        return self._routes.changed(topic_filter)

    def _take(self, session: Session, topic_filter: str) -> int:
        """Undo `_enter`."""
        if is_shared(topic_filter):
            return self.groups.remove(session, topic_filter)
        self._subscriptions.remove(topic_filter, session)
        return self._routes.changed(topic_filter)

    def subscribe(self, session: Session, topic_filter: str, options: SubscriptionOptions) -> None:
        """Add a subscription, and send its retained messages."""
        self.add_subscription(session, topic_filter, options)
        self._delivery.drain(session)

    def remove_subscription(self, session: Session, topic_filter: str) -> int:
        """Remove a subscription, if it exists; return the units of work done."""
        cost = filter_cost(topic_filter)
        if session.subscriptions.pop(topic_filter, None) is None:
            return cost
        session.release_filter(topic_filter)
        self._applications.filters_added(session.owner, -1)
        self._take(session, topic_filter)
        if session.is_kept:
            self._store.drop_subscription(session, topic_filter)
        return cost + self._delivery.cancel_replay(session, topic_filter)

    def _new(self, client_id: str, owner: str, *, is_kept: bool) -> Session:
        memory, disk = self._accounts.memory_of(owner), self._accounts.disk_of(owner)
        memory.charge_anyway(SESSIONS, session_bytes(client_id, owner))
        if is_kept:
            disk.charge_anyway(SESSIONS, disk_costs.session_bytes(client_id, owner))
        return Session(client_id, None, owner, is_kept=is_kept, memory=memory, disk=disk)

    def _index(self, session: Session) -> None:
        self._by_client_id[session.client_id] = session
        if not is_device(session.owner):
            self._by_key.setdefault(session.owner, {})[session] = None

    def _unindex(self, session: Session) -> None:
        del self._by_client_id[session.client_id]
        of_key = self._by_key.get(session.owner)
        if of_key is not None:
            of_key.pop(session, None)
            if not of_key:
                del self._by_key[session.owner]

    def _come_back(self, session: Session, expiry_seconds: int) -> None:
        self._wills.discard(session)
        if session.expires_at is not None:
            session.expires_at, session.expiry_seconds = None, expiry_seconds
            self._away.discard(session)
            self._store.set_expiry(session)

    def _take_out(
        self,
        session: Session,
        filters: Iterable[str],
        queue: deque[OutboundMessage | RetainedReplay],
        inflight: dict[int, OutboundMessage],
    ) -> Iterator[int]:
        for topic_filter in filters:
            session.release_filter(topic_filter)
            cost = self._take(session, topic_filter)
            if session.is_kept:
                self._store.free_subscription(session, topic_filter)
            yield filter_cost(topic_filter) + cost
        while queue or inflight:
            freed = 0
            for _ in range(min(len(queue) + len(inflight), ENTRIES_PER_UNIT)):
                entry = queue.popleft() if queue else inflight.popitem()[1]
                if isinstance(entry, RetainedReplay):
                    continue
                release_delivery(session, entry)
                if entry.row:
                    self._store.free_delivery(entry)
                    freed += 1
            yield 1 + freed

    def _restored(self, stored: StoredSession) -> Session:
        session = self._new(stored.client_id, stored.owner, is_kept=True)
        session.row, session.inbound = stored.row, dict.fromkeys(stored.inbound, 0)
        session.memory.charge_anyway(MESSAGES, INBOUND_BYTES * len(session.inbound))
        session.expiry_seconds = self.capped_expiry(stored.expiry_seconds)
        for topic_filter, options in stored.subscriptions.items():
            session.subscriptions[topic_filter] = options
            session.charge_filter(topic_filter)
            self._enter(session, topic_filter, options)
        # Sent messages are resent in the order in which they were sent (4.6.0-1); the others are queued in order of
        # arrival. The sort is stable, so messages without a number stay in row order.
        waiting = []
        for outgoing in sorted(stored.deliveries, key=lambda each: each.sent):
            charge_delivery_anyway(session, outgoing)
            if outgoing.packet_id:
                session.inflight[outgoing.packet_id] = outgoing
                session.last_packet_id = outgoing.packet_id
            else:
                waiting.append(outgoing)
        replays = [
            RetainedReplay(topic_filter, session.subscriptions[topic_filter], newest)
            for topic_filter, newest in stored.owed.items()
        ]
        for entry in merged(waiting, replays):
            if isinstance(entry, RetainedReplay):
                session.append(entry)
            else:
                self._delivery.enqueue(session, entry)
        session.replays.update((replay.topic_filter, replay) for replay in replays)
        return session
