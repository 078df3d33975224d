"""Routing: from a topic to the sessions that may receive its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Action
from fleetkey.broker.message import Message

if TYPE_CHECKING:
    from fleetkey.broker.codec import Codec, SubscriptionOptions
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.ports import TopicAuthorizer
    from fleetkey.broker.route_cache import Route, RouteCache
    from fleetkey.broker.session import ClientSink, Session

__all__ = ["Router"]

NODES_PER_PACKET = 128
"""Nodes of the subscription trie visited at the cost of one packet."""


class Router:
    """Fans messages out. The caller has already authorized the sender."""

    def __init__(
        self, routes: RouteCache, delivery: Delivery, topic_authorizer: TopicAuthorizer, counters: Counters
    ) -> None:
        self._routes = routes
        self._delivery = delivery
        self._topic_authorizer = topic_authorizer
        self._must_ask = bool(topic_authorizer)
        self._counters = counters

    def resolve(self, topic_bytes: bytes, topic: str) -> Route:
        """Return the receivers of a topic, valid until its branch is over."""
        return self._routes.find(topic_bytes, topic)

    def take_cost(self) -> int:
        """Return how many extra packets the last `resolve` counts as, once per call to it."""
        cost, self._routes.visited = self._routes.visited // NODES_PER_PACKET, 0
        return cost

    def forward(self, sender: ClientSink, route: Route, packet: bytes, payload_at: int) -> None:
        """Forward a QoS 0 message as the packet that arrived.

        Args:
            sender: the connection it came from.
            route: the valid route of its topic.
            packet: the whole PUBLISH.
            payload_at: where the payload begins in it.
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
        """Deliver a message to its receivers.

        Args:
            message: the message.
            route: the valid route of its topic, if known.
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
        """Return the receivers that the host allows too; for disconnected ones, that is decided when it is sent."""
        allow = self._topic_authorizer.allow
        return [
            (session, options)
            for session, options in targets
            if session.connection is None or allow(session, Action.RECEIVE, topic)
        ]
