"""What connections have in common: sessions, subscriptions, retained messages, and the way of a message."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import Action, is_topic_filter
from fleetkey.broker import packets
from fleetkey.broker.away import AwaySessions
from fleetkey.broker.counters import Counters
from fleetkey.broker.delivery import Delivery
from fleetkey.broker.population import Population
from fleetkey.broker.retained import RetainedMessage, RetainedMessages
from fleetkey.broker.routes import Routes
from fleetkey.broker.routing import SubscriptionTree
from fleetkey.broker.session import Message, Outgoing, Session
from fleetkey.broker.work import WorkQueue, filter_cost
from fleetkey.operations import Descriptors, Handshakes
from fleetkey.registry import KeyKind, is_device_id

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.admission import Admission
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.events import Events
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.packets import Connect
    from fleetkey.broker.persistence import BrokerStore
    from fleetkey.broker.presence import PresenceRecorder
    from fleetkey.broker.routes import Route
    from fleetkey.broker.stream import Stream
    from fleetkey.broker.topic_plugins import TopicPlugins
    from fleetkey.registry import SteadyClock

__all__ = ["LINGER_SECONDS", "Hub"]

log = structlog.get_logger(__name__)

REFUSED = 0x80
MAX_LOGGED_BOUNDS = 10_000
"""Bounds and clients that were logged together and are not again; then it begins anew."""
LINGER_SECONDS = 2.0
"""How long a closed connection may take to send what is written."""
TICK_SECONDS = 0.5
MAX_EXPIRED_PER_TICK = 50
"""Sessions that are dropped in one tick because their time is over; the others follow in the next ones."""


class Hub:
    """The broker's shared state. Everything happens on one event loop, in the order in which it comes in."""

    def __init__(
        self,
        limits: Limits,
        store: BrokerStore,
        admission: Admission,
        events: Events,
        topic_plugins: TopicPlugins,
        clock: SteadyClock,
        descriptors: Descriptors | None = None,
    ) -> None:
        self.limits = limits
        self.store = store
        self.admission = admission
        self.events = events
        self.topic_plugins = topic_plugins
        self.presence: PresenceRecorder | None = None
        self.counters = Counters()
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        """The loop's time, as of `TICK_SECONDS` ago at most."""
        self.tree = SubscriptionTree()
        self.work = WorkQueue(self.loop)
        self.routes = Routes(self.tree, self.work)
        self.retained = RetainedMessages(max_per_owner=limits.max_retained)
        self.delivery = Delivery(limits, store, self.retained, topic_plugins, self.counters)
        self.sessions: dict[str, Session] = {}
        self.away = AwaySessions()
        self.clock = clock
        self.descriptors = descriptors or Descriptors()
        self.population = Population(limits, self.counters, self.descriptors)
        self.handshakes = Handshakes(
            "mqtt",
            self.descriptors,
            most=min(limits.max_pending_connections, limits.max_connections),
            most_per_address=limits.max_pending_per_address,
        )
        self._logged_bounds: set[tuple[str, ...]] = set()
        self.has_plugins = events.hears_messages or bool(topic_plugins)
        """Whether a plugin hears of messages, or decides about them."""
        self._unflushed: list[Stream] = []
        self._due: deque[tuple[float, Callable[[], None]]] = deque()
        self._ticker: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take in what was stored, and begin to watch the time."""
        for topic, payload, qos, owner in self.store.load_retained():
            self.retained.keep(RetainedMessage(topic=topic, payload=payload, qos=qos, owner=owner))
        latest = self.clock.lasted() + self.limits.session_expiry_seconds
        for stored in self.store.load_sessions():
            session = Session(stored.client_id, None, stored.owner, is_clean=False)
            session.row, session.inbound = stored.row, stored.inbound
            # None: it was connected when the process ended. And none is kept for longer than one that leaves now.
            session.expires_at = min(stored.expires_at or latest, latest)
            for topic_filter, qos in stored.subscriptions.items():
                session.subscriptions[topic_filter] = qos
                self.tree.add(topic_filter, session, qos)
            for delivery in stored.deliveries:
                message = Message(delivery.topic, delivery.topic.encode(), delivery.payload, delivery.qos)
                outgoing = Outgoing(message, delivery.qos)
                outgoing.row, outgoing.packet_id = delivery.row, delivery.packet_id
                outgoing.is_released, outgoing.is_sent = delivery.is_released, bool(delivery.packet_id)
                outgoing.is_retained = delivery.is_retained
                if delivery.packet_id:
                    session.inflight[delivery.packet_id] = outgoing
                    session.last_packet_id = delivery.packet_id
                else:
                    self.delivery.wait(session, outgoing)
            for topic_filter in stored.owed:
                self.delivery.owe(session, topic_filter, session.subscriptions[topic_filter])
            self.sessions[session.client_id] = session
        for session in sorted(self.sessions.values(), key=lambda each: each.expires_at or latest):
            self.away.add(session)
        self._tick()

    def stop(self) -> None:
        """Close every connection; nobody said DISCONNECT, so the wills go out, to queues and as retained (3.1.2-8)."""
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in list(self.population.connections):
            connection.close("shutdown")

    def arrived(self, connection: Connection) -> bool:
        """Count a new connection; False if there is no room."""
        return self.population.arrived(connection)

    def left(self, connection: Connection, *, reason: str) -> None:
        """Part a connection from its session; safe to call again."""
        self.population.left(connection)
        session, will = connection.session, connection.will
        connection.session = connection.will = None
        if session is None or session.connection is not connection:
            return
        session.connection = None
        principal = connection.principal
        if session.is_clean:
            self.drop_session(session)
        else:
            session.expires_at = self.clock.lasted() + self.limits.session_expiry_seconds
            self.away.add(session)
            self.store.set_expiry(session)
        self.counters.disconnections[reason or "disconnect"] += 1
        log.info("disconnected", client_id=session.client_id, reason=reason or "disconnect", address=connection.address)
        self.events.disconnected(connection, session)
        if self.presence is not None and principal is not None and principal.device_id is not None:
            self.presence.disconnected(principal.device_id, connection, reason or "disconnect")
        if will is None or principal is None:
            return
        if principal.allows(Action.PUBLISH, will.topic) and self.topic_plugins.allow(
            session, Action.PUBLISH, will.topic
        ):
            self.publish(
                connection,
                Message(will.topic, will.topic.encode(), will.payload, will.qos),
                is_retained=will.is_retained,
            )

    def open_session(
        self, connection: Connection, connect: Connect, principal: Principal, client_id: str
    ) -> tuple[bool, bool]:
        """Give a connection its session: the one there is, or a new one (3.1.2.4).

        Returns:
            whether one was there, and whether CONNACK must wait until the store has forgotten an older one.
        """
        self.population.admitted(connection)
        existing = self.sessions.get(client_id)
        if existing is not None and existing.connection is not None:
            existing.connection.close("taken_over")
            # A clean session ended with its connection.
            existing = self.sessions.get(client_id)
        must_wait = False
        if existing is not None and connect.is_clean:
            must_wait = bool(existing.row)
            self.drop_session(existing)
            existing = None
        is_present = existing is not None
        session = existing or Session(client_id, principal, principal.owner, is_clean=connect.is_clean)
        if existing is None:
            self.sessions[client_id] = session
            if not session.is_clean:
                self.store.add_session(session)
        elif session.expires_at is not None:
            session.expires_at = None
            self.away.discard(session)
            self.store.set_expiry(session)
        session.principal = principal
        for topic_filter in session.subscriptions:
            self.routes.changed(topic_filter)
        session.connection, session.is_drop_logged = connection, False
        connection.session, connection.principal = session, principal
        connection.keep_alive_seconds = connect.keep_alive_seconds * 1.5
        return is_present, must_wait

    def opened(self, connection: Connection, *, is_resumed: bool) -> None:
        """Go on with a session whose CONNACK was sent."""
        session = connection.session
        if session is None:
            return
        log.debug("connected", client_id=session.client_id, address=connection.address, is_resumed=is_resumed)
        self.events.connected(session)
        self.counters.connections += 1
        if (
            self.presence is not None
            and connection.principal is not None
            and connection.principal.device_id is not None
        ):
            self.presence.connected(connection.principal.device_id, connection)
        self.delivery.resume(session)

    def sessions_of(self, owner: str) -> list[Session]:
        """Return the sessions of a device, which has one, or of an application key."""
        if is_device_id(owner):
            session = self.sessions.get(owner)
            return [session] if session is not None else []
        return [session for session in self.sessions.values() if session.owner == owner]

    def drop_session(self, session: Session) -> None:
        """Forget a session and everything that belongs to it; the tree lets go of it when there is time."""
        session.is_over = True
        self.away.discard(session)
        filters, session.subscriptions = session.subscriptions, {}
        self.work.do(self._take_out(session, filters))
        for waiting in (session.queue, session.inflight, session.unsent, session.owed, session.resending):
            waiting.clear()
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
        if session.row:
            self.store.drop_session(session)

    def _take_out(self, session: Session, filters: Iterable[str]) -> Iterator[int]:
        for topic_filter in filters:
            self.tree.remove(topic_filter, session)
            self.routes.changed(topic_filter)
            yield filter_cost(topic_filter)

    def subscribe(self, connection: Connection, data: bytes, start: int, end: int) -> Generator[int]:
        """Grant what the principal may have and refuse the rest, filter by filter (3.8.4, 3.9); a job for `WorkQueue`.

        Nothing is granted before the whole packet is found well formed.
        """
        session, principal = connection.session, connection.principal
        if session is None or principal is None:
            return
        packet_id, read = packets.read_subscribe(data, start, end, self.limits.max_subscriptions_per_application)
        pairs: list[tuple[str, int]] = []
        for topic_filter, qos in read:
            _check_filter(topic_filter)
            pairs.append((topic_filter, qos))
            yield filter_cost(topic_filter)
        codes = []
        for topic_filter, qos in pairs:
            if self._may_subscribe(session, principal, topic_filter):
                self.add_subscription(session, topic_filter, qos)
                self.events.subscribed(session, topic_filter, qos)
                codes.append(qos)
            else:
                connection.log_refusal("subscribe", topic_filter.encode())
                codes.append(REFUSED)
            yield 2 * filter_cost(topic_filter)
        connection.acknowledge(packets.suback(packet_id, codes), must_wait=not session.is_clean)
        granted = deque(pair for pair, code in zip(pairs, codes, strict=True) if code != REFUSED)
        try:
            while granted:
                self.delivery.owe(session, *granted.popleft())
                yield self.delivery.pump(session)
        finally:
            # Also for a session whose client left meanwhile.
            for topic_filter, qos in granted:
                self.delivery.owe(session, topic_filter, qos)

    def add_subscription(self, session: Session, topic_filter: str, qos: int) -> None:
        """Add or replace a subscription that was granted (3.8.4-3); `Delivery.owe` and `pump` are to follow."""
        session.subscriptions[topic_filter] = qos
        self.tree.add(topic_filter, session, qos)
        self.routes.changed(topic_filter)
        if not session.is_clean:
            is_owed = self.delivery.may_owe(topic_filter)
            self.store.add_subscription(session, topic_filter, qos, is_owed=is_owed)

    def unsubscribe(self, connection: Connection, data: bytes, start: int, end: int) -> Generator[int]:
        """Take subscriptions away (3.10.4); a job for `WorkQueue`."""
        session = connection.session
        if session is None:
            return
        packet_id, read = packets.read_unsubscribe(data, start, end, self.limits.max_subscriptions_per_application)
        filters = []
        for topic_filter in read:
            _check_filter(topic_filter)
            filters.append(topic_filter)
            yield filter_cost(topic_filter)
        for topic_filter in filters:
            cost = filter_cost(topic_filter)
            if session.subscriptions.pop(topic_filter, None) is not None:
                self.tree.remove(topic_filter, session)
                self.routes.changed(topic_filter)
                cost += self.delivery.forgive(session, topic_filter)
                if not session.is_clean:
                    self.store.drop_subscription(session, topic_filter)
            self.events.unsubscribed(session, topic_filter)
            yield cost
        answer = packets.acknowledgement(packets.UNSUBACK, packet_id)
        connection.acknowledge(answer, must_wait=not session.is_clean)

    def take(self, session: Session, packet_id: int) -> bool:
        """Remember a QoS 2 message's id until it is released (4.3.3); True if that is stored."""
        if len(session.inbound) >= self.limits.max_unreleased:
            self.log_bound("max_unreleased", client_id=session.client_id)
            msg = "more QoS 2 messages than max_unreleased"
            raise packets.MalformedPacketError(msg)
        session.inbound.add(packet_id)
        if session.is_clean:
            return False
        self.store.add_inbound(session, packet_id)
        return True

    def release(self, session: Session, packet_id: int) -> bool:
        """Forget a QoS 2 message's id; True if the store has to forget it as well."""
        if packet_id not in session.inbound:
            return False
        session.inbound.discard(packet_id)
        if session.is_clean:
            return False
        self.store.drop_inbound(session, packet_id)
        return True

    def forward(self, connection: Connection, route: Route, wire: bytes, payload_at: int) -> None:
        """Pass a QoS 0 message on, as the bytes that came in."""
        targets = connection.renew(route) if route.branch.is_over else route.targets
        counters = self.counters
        counters.messages_received += 1
        counters.messages_delivered += len(targets)
        if self.has_plugins:
            self.events.published(connection, Message(route.topic, route.topic_bytes, wire[payload_at:], 0))
            targets = self._allowed(targets, route.topic)
        for session, _ in targets:
            receiver = session.connection
            if receiver is None:
                continue
            if session.queue and self.delivery.must_follow(session, route.topic):
                self.delivery.follow(session, Message(route.topic, route.topic_bytes, wire[payload_at:], 0))
            elif not receiver.is_paused:
                receiver.send(wire)

    def publish(
        self, connection: Connection | None, message: Message, route: Route | None = None, *, is_retained: bool = False
    ) -> bool:
        """Pass a message on to whoever may have it; `route` is that of its topic, if it is known.

        Returns:
            whether anything was noted in the store, so that an acknowledgement must wait for a commit.
        """
        if connection is not None and self.events.hears_messages:
            self.events.published(connection, message)
        must_wait = False
        if is_retained:
            owner = connection.principal.owner if connection is not None and connection.principal else ""
            must_wait = self.retain(message, owner)
        route = route or self.routes.find(message.topic_bytes, message.topic)
        targets = connection.renew(route) if route.branch.is_over and connection is not None else route.targets
        self.counters.messages_received += connection is not None
        self.counters.messages_delivered += len(targets)
        if self.has_plugins:
            targets = self._allowed(targets, message.topic)
        wire = b""
        for session, granted in targets:
            qos = min(granted, message.qos)
            if qos:
                must_wait |= self.delivery.offer(session, message, qos)
            elif (receiver := session.connection) is None:
                continue
            elif session.queue and self.delivery.must_follow(session, message.topic):
                self.delivery.follow(session, message)
            elif not receiver.is_paused:
                wire = wire or packets.publish(message.topic_bytes, message.payload)
                receiver.send(wire)
        return must_wait

    def retain(self, message: Message, owner: str) -> bool:
        """Keep a message for later subscribers; an empty one clears the topic (3.3.1-5, 3.3.1-10)."""
        # What the broker says of itself is said anew after a restart.
        is_stored = not message.topic.startswith("$")
        if not message.payload:
            if self.retained.drop(message.topic) is None:
                return False
            if is_stored:
                self.store.drop_retained(message.topic)
            return is_stored
        kept = RetainedMessage(topic=message.topic, payload=message.payload, qos=message.qos, owner=owner)
        if not self.retained.keep(kept):
            self.log_bound("max_retained", owner=owner)
            return False
        if is_stored:
            self.store.keep_retained(kept)
        self.events.retained(kept)
        return is_stored

    def call_later(self, callback: Callable[[], None]) -> None:
        """Put an end to something in `LINGER_SECONDS`."""
        self._due.append((self.loop.time() + LINGER_SECONDS, callback))

    def scopes_changed(self) -> None:
        """Decide again who receives what."""
        self.routes.all_changed()

    def flush_soon(self, stream: Stream) -> None:
        """Let a stream hand what it gathers in this turn to its transport."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed.append(stream)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for stream in unflushed:
            stream.flush()

    def log_bound(self, bound: str, **whose: str) -> None:
        """Count that someone reached a bound, and say it once, not as often as it does."""
        self.counters.bounds[bound] += 1
        logged = (bound, *whose.values())
        if logged in self._logged_bounds:
            return
        if len(self._logged_bounds) >= MAX_LOGGED_BOUNDS:
            self._logged_bounds.clear()
        self._logged_bounds.add(logged)
        log.warning("bound_reached", bound=bound, **whose)

    def _allowed(self, targets: list[tuple[Session, int]], topic: str) -> list[tuple[Session, int]]:
        """Return the receivers that other plugins allow; who is away is decided when it is sent."""
        allow = self.topic_plugins.allow
        return [
            (session, qos)
            for session, qos in targets
            if session.connection is None or allow(session, Action.RECEIVE, topic)
        ]

    def _may_subscribe(self, session: Session, principal: Principal, topic_filter: str) -> bool:
        limits = self.limits
        most = (
            limits.max_subscriptions_per_device
            if principal.kind is KeyKind.DEVICE
            else limits.max_subscriptions_per_application
        )
        if topic_filter not in session.subscriptions and len(session.subscriptions) >= most:
            self.log_bound("max_subscriptions", client_id=session.client_id)
            return False
        if len(topic_filter.encode()) > limits.max_topic_bytes or topic_filter.count("/") >= limits.max_topic_levels:
            return False
        return principal.allows(Action.SUBSCRIBE, topic_filter) and self.topic_plugins.allow(
            session, Action.SUBSCRIBE, topic_filter
        )

    def _tick(self) -> None:
        """Twice a second: silent connections, connections that never said who they are, sessions whose time is over."""
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)
        now = self.now = self.loop.time()
        for connection in self.population.silent(now - TICK_SECONDS):
            connection.close("keep_alive")
        for connection in self.population.undecided(now):
            connection.abort("connect_timeout")
        while self._due and self._due[0][0] <= now:
            self._due.popleft()[1]()
        for session in self.away.over(self.clock.lasted(), most=MAX_EXPIRED_PER_TICK):
            log.info("session_expired", client_id=session.client_id)
            self.drop_session(session)


def _check_filter(topic_filter: str) -> None:
    if not is_topic_filter(topic_filter):
        msg = "an ill-formed topic filter"
        raise packets.MalformedPacketError(msg)
