"""The way of a message: from a topic to those who may have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Action
from fleetkey.broker.session import Message

if TYPE_CHECKING:
    from fleetkey.broker.codec import Codec, SubscriptionOptions
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.ports import TopicAuthorizer
    from fleetkey.broker.route_cache import Route, RouteCache
    from fleetkey.broker.session import ClientSink, Session

__all__ = ["Router"]

NODES_PER_PACKET = 128
"""Nodes of the subscriptions' trie that may be gone through in the time of one packet."""


class Router:
    """Fans messages out. Whoever calls has decided that the sender may publish."""

    def __init__(
        self, routes: RouteCache, delivery: Delivery, topic_authorizer: TopicAuthorizer, counters: Counters
    ) -> None:
        self._routes = routes
        self._delivery = delivery
        self._topic_authorizer = topic_authorizer
        self._must_ask = bool(topic_authorizer)
        self._counters = counters

    def resolve(self, topic_bytes: bytes, topic: str) -> Route:
        """Return who receives a topic, until its branch is over."""
        return self._routes.find(topic_bytes, topic)

    def take_cost(self) -> int:
        """Return as how many packets beside its own the topic counts that was just resolved; once."""
        cost, self._routes.visited = self._routes.visited // NODES_PER_PACKET, 0
        return cost

    def forward(self, sender: ClientSink, route: Route, packet: bytes, payload_at: int) -> None:
        """Take a QoS 0 message and pass it on, as the packet that came in, by a route that holds.

        Args:
            sender: where it came from.
            route: where its topic leads.
            packet: the whole PUBLISH.
            payload_at: where in it the payload begins.
        """
        targets, counters, codec = route.targets, self._counters, sender.codec
        counters.messages_received += 1
        counters.messages_delivered += len(targets)
        if self._must_ask:
            targets = self._allowed(targets, route.topic)
        for session, _ in targets:
            receiver = session.connection
            if receiver is None:
                continue
            if session.queue and self._delivery.must_follow(session, route.topic):
                self._delivery.follow(session, Message(route.topic, route.topic_bytes, packet[payload_at:], 0))
            elif not receiver.is_paused:
                if receiver.codec is codec:
                    receiver.send(packet)
                else:
                    receiver.send(receiver.codec.publish(route.topic_bytes, packet[payload_at:]))

    def publish(self, message: Message, route: Route | None = None) -> None:
        """Pass a message on to whoever may have it.

        Args:
            message: what is passed on.
            route: where its topic leads, if that is known and holds.
        """
        targets = (route or self.resolve(message.topic_bytes, message.topic)).targets
        self._counters.messages_delivered += len(targets)
        if self._must_ask:
            targets = self._allowed(targets, message.topic)
        packets: dict[Codec, bytes] = {}
        for session, options in targets:
            qos = min(options.qos, message.qos)
            if qos:
                self._delivery.offer(session, message, qos)
            elif (receiver := session.connection) is None:
                continue
            elif session.queue and self._delivery.must_follow(session, message.topic):
                self._delivery.follow(session, message)
            elif not receiver.is_paused:
                packet = packets.get(receiver.codec)
                if packet is None:
                    packet = receiver.codec.publish(message.topic_bytes, message.payload)
                    packets[receiver.codec] = packet
                receiver.send(packet)

    def _allowed(
        self, targets: list[tuple[Session, SubscriptionOptions]], topic: str
    ) -> list[tuple[Session, SubscriptionOptions]]:
        """Return the receivers that the host allows, too; who is away is decided when it is sent."""
        allow = self._topic_authorizer.allow
        return [
            (session, options)
            for session, options in targets
            if session.connection is None or allow(session, Action.RECEIVE, topic)
        ]
