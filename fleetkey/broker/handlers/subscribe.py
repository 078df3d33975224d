"""SUBSCRIBE and UNSUBSCRIBE (MQTT 3.1.1, 3.8 and 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Action, is_shared, is_topic_filter, split_shared
from fleetkey.broker import disk_costs
from fleetkey.broker.codec import MalformedPacketError, Reason
from fleetkey.broker.memory_costs import GROUP_BYTES, GROUP_MEMBER_BYTES, most_filter_bytes
from fleetkey.broker.work import filter_cost
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Generator

    from fleetkey.access import Principal
    from fleetkey.broker.application_shares import ApplicationShares
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.codec import Codec, SubscriptionOptions
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import BrokerObserver, TopicAuthorizer
    from fleetkey.broker.session import ClientSink, Session
    from fleetkey.broker.sessions import Sessions
    from fleetkey.broker.store import BrokerStore

__all__ = ["SubscribeHandler"]


class SubscribeHandler:
    """Grants or refuses each filter, as the principal's scope allows.

    Its methods are jobs for `WorkQueue`: a packet may have many filters.
    """

    def __init__(
        self,
        limits: Limits,
        sessions: Sessions,
        delivery: Delivery,
        store: BrokerStore,
        observer: BrokerObserver,
        topic_authorizer: TopicAuthorizer,
        bounds: BoundLog,
        applications: ApplicationShares,
    ) -> None:
        self._limits = limits
        self._sessions = sessions
        self._delivery = delivery
        self._store = store
        self._observer = observer
        self._topic_authorizer = topic_authorizer
        self._bounds = bounds
        self._applications = applications

    @property
    def max_filters(self) -> int:
        """The maximum number of filters per packet."""
        return self._limits.max_subscriptions_per_application

    def subscribe(self, connection: ClientSink, session: Session, data: bytes, start: int, end: int) -> Generator[int]:
        """Handle a SUBSCRIBE; nothing is granted unless the whole packet is well-formed (3.8.4, 3.9)."""
        packet_id, read = connection.codec.read_subscribe(data, start, end, self.max_filters)
        wanted: list[tuple[str, SubscriptionOptions, int]] = []
        for topic_filter, options in read:
            _check_filter(topic_filter, connection.codec)
            cost = filter_cost(topic_filter)
            wanted.append((topic_filter, options, cost))
            yield cost
        before = self._store.position
        answers: list[SubscriptionOptions | Reason] = []
        for topic_filter, options, cost in wanted:
            if session.is_kept and self._store.is_failing:
                added = 0
                self._bounds.reached("store_failing", client_id=session.client_id)
                connection.log_refusal("subscribe", topic_filter.encode(), RefusalReason.NOT_STORED, "store_failing")
                answers.append(Reason.NOT_STORED)
            elif (refused := self._refused(session, connection, topic_filter)) is None:
                # From here on, its retained messages are queued, and newly published ones are queued behind them.
                added = self._sessions.add_subscription(session, topic_filter, options)
                self._observer.subscribed(session, topic_filter, options.qos)
                answers.append(options)
            else:
                added = 0
                connection.log_refusal("subscribe", topic_filter.encode(), *refused)
                is_bound = refused[0] is RefusalReason.BOUND_REACHED
                answers.append(Reason.QUOTA_EXCEEDED if is_bound else Reason.NOT_AUTHORIZED)
            yield 2 * cost + added
        # For a session that isn't kept, nothing was noted; notes made between two turns belong to others.
        position = self._store.since(before) if session.is_kept else 0
        connection.acknowledge(connection.codec.suback(packet_id, answers), position)
        yield self._delivery.drain(session)

    def unsubscribe(
        self, connection: ClientSink, session: Session, data: bytes, start: int, end: int
    ) -> Generator[int]:
        """Handle an UNSUBSCRIBE (3.10.4)."""
        packet_id, read = connection.codec.read_unsubscribe(data, start, end, self.max_filters)
        filters = []
        for topic_filter in read:
            _check_filter(topic_filter, connection.codec)
            filters.append(topic_filter)
            yield filter_cost(topic_filter)
        answers = []
        for topic_filter in filters:
            answers.append(topic_filter in session.subscriptions)
            cost = self._sessions.remove_subscription(session, topic_filter)
            self._observer.unsubscribed(session, topic_filter)
            yield cost
        # Even for subscriptions that were already removed: that may not be committed yet.
        position = self._store.position if session.is_kept else 0
        connection.acknowledge(connection.codec.unsuback(packet_id, answers), position)

    def _refused(self, session: Session, connection: ClientSink, topic_filter: str) -> tuple[RefusalReason, str] | None:
        """Return why a filter is refused, with the bound that it reached, if any; None if it is granted.

        A shared subscription is granted exactly when its filter is.
        """
        principal, inner = connection.principal, topic_filter
        if is_shared(topic_filter) and connection.codec.shares_subscriptions:
            inner = split_shared(topic_filter)[1]
        if principal is None:
            return RefusalReason.REVOKED, ""
        limits = self._limits
        if len(topic_filter.encode()) > limits.max_topic_bytes or topic_filter.count("/") >= limits.max_topic_levels:
            return RefusalReason.BOUND_REACHED, "max_topic_bytes or max_topic_levels"
        if topic_filter not in session.subscriptions and (
            bound := self._bound_reached(session, principal, topic_filter)
        ):
            return RefusalReason.BOUND_REACHED, bound
        # `Delivery` and the routes ask for each message whether the receiver may have it.
        if not principal.allows_filter(inner):
            return (RefusalReason.REVOKED if principal.is_revoked else RefusalReason.FOREIGN_FILTER), ""
        if not self._topic_authorizer.allow(session, Action.SUBSCRIBE, inner):
            return RefusalReason.PLUGIN_REFUSED, ""
        return None

    def _bound_reached(self, session: Session, principal: Principal, topic_filter: str) -> str:
        """Return which bound leaves no room for a new filter; empty if there is room."""
        limits = self._limits
        is_device = principal.device_id is not None
        most = limits.max_subscriptions_per_device if is_device else limits.max_subscriptions_per_application
        if len(session.subscriptions) >= most:
            self._bounds.reached("max_subscriptions", client_id=session.client_id)
            return "max_subscriptions"
        if not (is_device or self._applications.has_room_for_filter(session.owner)):
            return "max_filters_per_application"
        if is_shared(topic_filter) and (bound := self._sessions.groups.bound_reached(session.owner, topic_filter)):
            self._bounds.reached(bound, owner=session.owner)
            return bound
        if bound := _exceeded(session, topic_filter):
            self._bounds.reached(bound, owner=session.owner)
        return bound


def _exceeded(session: Session, topic_filter: str) -> str:
    """Return which bound leaves no room for a new filter; empty if there is room."""
    size = most_filter_bytes(topic_filter) + (GROUP_BYTES + GROUP_MEMBER_BYTES if is_shared(topic_filter) else 0)
    if not session.memory.has_room(size):
        return session.memory.bound_reached(size)
    stored = disk_costs.subscription_bytes(topic_filter) if session.is_kept else 0
    return session.disk.bound_reached(stored) if stored and not session.disk.has_room(stored) else ""


def _check_filter(topic_filter: str, codec: Codec) -> None:
    if not is_topic_filter(topic_filter):
        msg = "an ill-formed topic filter"
        raise MalformedPacketError(msg)
    if codec.shares_subscriptions and is_shared(topic_filter) and not split_shared(topic_filter)[0]:
        msg = "an ill-formed shared subscription"
        raise MalformedPacketError(msg)
