"""Routing: from a topic to the sessions that may receive its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.access import Action
from fleetkey.broker.delivery import BYTES_PER_SEND, UNITS_PER_SEND
from fleetkey.broker.encoding import TOO_LONG, encode
from fleetkey.broker.message import Message
from fleetkey.broker.shared_group import SHARED
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.codec import Codec, SubscriptionOptions
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.ports import TopicAuthorizer
    from fleetkey.broker.route_cache import Route, RouteCache, Targets
    from fleetkey.broker.session import Publisher, Session
    from fleetkey.broker.shared_group import SharedGroup
    from fleetkey.broker.subscriptions import SubscriptionTrie
    from fleetkey.broker.topic_queues import TopicQueues

__all__ = ["Router"]

SHORT_BYTES = 4 * 1024
"""A longer message of QoS 0 is sent only if there is room for it in case the receiver doesn't read it."""
UNITS_PER_PACKET = 64
"""Units of work for a new topic at the cost of one packet."""
UNITS_PER_STEP = 16
"""Units of sending a message after which it may be paused."""
UNITS_PER_NOTE = 4
"""More units for a receiver of a message with a QoS, as it is noted until it is acknowledged."""
MEMBERS_PER_UNIT = 8
"""Members of a group looked at per unit, to choose one of them."""
UNITS_PER_LOOK = 1
"""Units for a receiver to whom a message isn't sent."""


class Router:
    """Fans messages out. The caller has already authorized the sender.

    A message to few receivers is sent at once. One to many, of many bytes, or whose receivers take long to find takes
    its turns in the line of its topic. It is due to the subscriptions that there are when its sending begins, and
    each receiver is checked again in the turn in which it is sent the message.
    """

    def __init__(
        self,
        trie: SubscriptionTrie,
        routes: RouteCache,
        topic_queues: TopicQueues,
        delivery: Delivery,
        topic_authorizer: TopicAuthorizer,
        counters: Counters,
        clock: SteadyClock | None = None,
    ) -> None:
        self._trie = trie
        self._clock = clock or SteadyClock()
        self._routes = routes
        self._topic_queues = topic_queues
        self._delivery = delivery
        self._topic_authorizer = topic_authorizer
        self._must_ask = bool(topic_authorizer)
        self._counters = counters

    def resolve(self, topic_bytes: bytes, topic: str) -> Route:
        """Return the receivers of a topic, valid until its branch is over."""
        route = self._routes.find(topic_bytes, topic)
        if topic_bytes in self._topic_queues:
            route.hold()
        return route

    def is_full(self, owner: str) -> bool:
        """Whether too many messages that nobody waits for are to be sent."""
        return self._topic_queues.is_full(owner)

    def take_cost(self) -> int:
        """Return how many extra packets the last `resolve` counts as, once per call to it."""
        cost, self._routes.spent = self._routes.spent // UNITS_PER_PACKET, 0
        return cost

    def forward(self, sender: Publisher, route: Route, packet: bytes, payload_at: int) -> None:
        """Forward a QoS 0 message as the packet that arrived; if that takes turns, its sender waits for them.

        Args:
            sender: the connection it came from.
            route: the valid route of its topic.
            packet: the whole PUBLISH, which has nothing but a topic and a payload.
            payload_at: where the payload begins in it.
        """
        targets, counters = route.targets, self._counters
        counters.messages_received += 1
        if len(packet) > route.raw_bytes:
            self._forward_message(sender, route, packet, payload_at)
            return
        counters.messages_delivered += len(targets)
        if self._must_ask:
            targets = self._allowed(targets, route.topic)
        is_short, codec = len(packet) <= SHORT_BYTES, sender.codec.wire
        other_codec, other_packet = codec, packet
        for session, _ in targets:
            receiver = session.connection
            if receiver is None:
                continue
            if session.queue and self._delivery.must_follow(session, route.topic):
                self._delivery.follow(session, Message(route.topic, route.topic_bytes, packet[payload_at:], 0))
            elif not receiver.is_paused and (is_short or receiver.has_room(len(packet))):
                if receiver.codec is codec:
                    receiver.send(packet)
                    continue
                if receiver.codec is not other_codec:
                    other_codec = receiver.codec
                    other_packet = other_codec.publish(route.topic_bytes, packet[payload_at:])
                elif other_codec.wire is not other_codec:
                    # It is this receiver's alone, and may have introduced a topic alias.
                    other_packet = other_codec.publish(route.topic_bytes, packet[payload_at:])
                if other_packet:
                    receiver.send(other_packet)
                else:
                    counters.bounds[TOO_LONG] += 1

    def _forward_message(self, sender: Publisher, route: Route, packet: bytes, payload_at: int) -> None:
        """Forward a QoS 0 message that takes turns, or that isn't sent to all its receivers in the same way."""
        message = Message(route.topic, route.topic_bytes, packet[payload_at:], 0)
        packets = {sender.codec.wire: packet}
        if message.size > route.quick_bytes:
            self._take_turns(message, sender, sender.session, packets, sender.principal)
        else:
            self.send_at_once(message, route.targets, sender.session, packets)

    def publish(
        self,
        message: Message,
        route: Route | None = None,
        *,
        sender: Publisher | None = None,
        origin: Session | None = None,
        principal: Principal | None = None,
        begin: Callable[[], None] | None = None,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Deliver a message to its receivers.

        Args:
            message: the message.
            route: the valid route of its topic, if known.
            sender: the connection that handles nothing else until it is sent; None for a will, or the host's own.
            origin: the publisher's session, which may not want its own messages; None for the host's own.
            principal: whose message it is; if it is revoked before the message's turn comes, nothing is sent.
            begin: called when its turn comes, before anything is sent.
            done: called once it is sent, or with False if it can't be.
        """
        route = route or self.resolve(message.topic_bytes, message.topic)
        if message.size > route.quick_bytes:
            self._take_turns(message, sender, origin, {}, principal, begin, done)
            return
        if begin is not None:
            begin()
        self.send_at_once(message, route.targets, origin)
        if done is not None:
            done(True)  # noqa: FBT003 - as the queues' callback

    def send_at_once(
        self,
        message: Message,
        targets: Targets,
        origin: Session | None = None,
        packets: dict[Codec, bytes] | None = None,
    ) -> None:
        """Deliver a message of at most the `quick_bytes` of its route, whose targets are given."""
        self._counters.messages_delivered += len(targets)
        if self._must_ask:
            targets = self._allowed(targets, message.topic)
        packets = packets if packets is not None else {}
        for session, options in targets:
            self._send(session, options, message, packets, origin)

    def _take_turns(
        self,
        message: Message,
        sender: Publisher | None,
        origin: Session | None,
        packets: dict[Codec, bytes],
        principal: Principal | None,
        begin: Callable[[], None] | None = None,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Send a message in its topic's line."""

        def ended(is_sent: bool) -> None:  # noqa: FBT001 - the queues' callback
            if message.topic_bytes not in self._topic_queues:
                route = self._routes.get(message.topic_bytes, message.topic)
                if route is not None:
                    route.release()
            self._delivery.let_go(message)
            if done is not None:
                done(is_sent)
            if sender is not None:
                sender.end_work()

        job = self._send_all(message, origin, packets, principal, begin)
        self._delivery.hold(message)
        has_publisher = sender is not None
        owner = principal.owner if principal is not None else ""
        if not self._topic_queues.add(
            message.topic_bytes, job, ended, size=message.size, owner=owner, has_publisher=has_publisher
        ):
            route = self._routes.get(message.topic_bytes, message.topic)
            if route is not None:
                route.hold()
            if sender is not None:
                # The message, and the packet that it came in.
                sender.begin_work(2 * message.size)

    def _send_all(
        self,
        message: Message,
        origin: Session | None,
        packets: dict[Codec, bytes],
        principal: Principal | None,
        begin: Callable[[], None] | None,
    ) -> Iterator[int]:
        """Send a message to everyone that it is due to: a job for `WorkQueue`.

        Before the first pause, the message is retained, if it is to be: a subscription that is added later has it from
        there, and isn't sent it live.
        """
        if principal is not None and principal.is_revoked:
            return
        since = self._trie.changes
        if begin is not None:
            begin()
        route = self.resolve(message.topic_bytes, message.topic)
        if route.is_found:
            targets = route.targets
        else:
            yield self._routes.spent
            targets = yield from self._routes.search(route, since)
        route.hold()
        units = 0
        for session, options in targets:
            wanted: SubscriptionOptions | None = options
            if options is SHARED:
                # Which of its members may have the message is decided when it is sent.
                units += len(session) // MEMBERS_PER_UNIT
            elif route.branch.is_over:
                wanted = yield from self._recheck(session, options, message.topic, since)
            elif self._must_ask and not self._is_allowed(session, message.topic):
                wanted = None
            if wanted is None:
                units += UNITS_PER_LOOK
            else:
                self._counters.messages_delivered += 1
                self._send(session, wanted, message, packets, origin)
                units += UNITS_PER_SEND * (1 + message.size // BYTES_PER_SEND)
                if message.qos and wanted.qos:
                    units += UNITS_PER_NOTE
            if units >= UNITS_PER_STEP:
                yield units
                units = 0
        yield units

    def _recheck(
        self, session: Session, options: SubscriptionOptions, topic: str, since: int
    ) -> Generator[int, None, SubscriptionOptions | None]:
        """Check a receiver again, after something changed; return its options as they are now, or None."""
        wanted: SubscriptionOptions | None = options
        if session.changed_at > since:
            wanted = yield from self._trie.due(topic, since, session)
        if wanted is None or session.is_over:
            return None
        if session.connection is None:
            return wanted
        if session.principal is None or not session.principal.allows(Action.RECEIVE, topic):
            return None
        return wanted if self._is_allowed(session, topic) else None

    def _send(
        self,
        session: Any,
        options: SubscriptionOptions,
        message: Message,
        packets: dict[Codec, bytes],
        origin: Session | None,
    ) -> None:
        """Send a message to one receiver, or queue it; `packets` are those encoded so far without any options."""
        if options is SHARED:
            group: SharedGroup = session
            session = group.choose(message.topic, message.qos)
            if session is None or not self._is_allowed(session, message.topic):
                return
            options = group.options[session]
        if options.no_local and session is origin:
            return
        qos = min(message.qos, options.qos)
        is_retained = options.retain_as_published and message.is_retained
        if qos:
            self._delivery.offer(session, message, qos, is_retained=is_retained, identifiers=options.identifiers)
        elif (receiver := session.connection) is None:
            return
        elif session.queue and self._delivery.must_follow(session, message.topic):
            self._delivery.follow(session, message, is_retained=is_retained, identifiers=options.identifiers)
        elif not receiver.is_paused and (message.size <= SHORT_BYTES or receiver.has_room(message.size)):
            packet = self._encoded(receiver.codec, message, options, packets, is_retained=is_retained)
            if packet:
                receiver.send(packet)
            else:
                self._counters.bounds[TOO_LONG] += 1

    def _encoded(
        self,
        codec: Codec,
        message: Message,
        options: SubscriptionOptions,
        packets: dict[Codec, bytes],
        *,
        is_retained: bool,
    ) -> bytes:
        """Encode a message of QoS 0, once for all receivers that are sent the same."""
        is_common = codec.wire is codec and not is_retained and not options.identifiers
        packet = packets.get(codec) if is_common else None
        if packet is None:
            packet = encode(codec, message, self._clock, is_retained=is_retained, identifiers=options.identifiers)
            if is_common:
                packets[codec] = packet
        return packet

    def _is_allowed(self, session: Session, topic: str) -> bool:
        """Whether the host allows a receiver too; for a disconnected one, that is decided when it is sent."""
        return (
            not self._must_ask
            or session.connection is None
            or self._topic_authorizer.allow(session, Action.RECEIVE, topic)
        )

    def _allowed(self, targets: Targets, topic: str) -> Targets:
        return [target for target in targets if target[1] is SHARED or self._is_allowed(target[0], topic)]
