"""The broker's parts wired together: everything between the sockets and the host."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleetkey.broker.accounts import Accounts
from fleetkey.broker.admission import Admission
from fleetkey.broker.application_shares import ApplicationShares
from fleetkey.broker.bounds import BoundLog
from fleetkey.broker.codec import Codec5, PropertyLimits, Reason
from fleetkey.broker.connection import Connection
from fleetkey.broker.connection_limits import ConnectionLimits
from fleetkey.broker.connection_parts import ConnectionParts
from fleetkey.broker.counters import Counters
from fleetkey.broker.delivery import Delivery
from fleetkey.broker.device_rates import DeviceRates
from fleetkey.broker.handlers import AcknowledgeHandler, ConnectHandler, PublishHandler, SubscribeHandler
from fleetkey.broker.held_back import HeldBackConnections
from fleetkey.broker.lingering import Lingering
from fleetkey.broker.owners import Owners
from fleetkey.broker.pending_wills import PendingWills
from fleetkey.broker.refusals import Refusals
from fleetkey.broker.retained import RetainedMessages
from fleetkey.broker.route_cache import RouteCache
from fleetkey.broker.router import Router
from fleetkey.broker.scheduler import Scheduler
from fleetkey.broker.sessions import Sessions
from fleetkey.broker.subscriptions import SubscriptionTrie
from fleetkey.broker.topic_queues import TopicQueues
from fleetkey.broker.transport.websocket import WebSocket
from fleetkey.operations import Descriptors
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from fleetkey.access import Authenticator, RefusalRecorder
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import BrokerObserver, ConnectAuthorizer, TopicAuthorizer
    from fleetkey.broker.presence import PresenceRecorder
    from fleetkey.broker.store import BrokerStore

__all__ = ["BrokerCore"]


class BrokerCore:
    """Wires, starts and stops the parts; no part depends on this class.

    Everything happens on one event loop, in order of arrival.
    """

    def __init__(
        self,
        limits: Limits,
        store: BrokerStore,
        authenticator: Authenticator,
        observer: BrokerObserver,
        topic_authorizer: TopicAuthorizer,
        connect_authorizer: ConnectAuthorizer,
        *,
        presence: PresenceRecorder | None = None,
        clock: SteadyClock | None = None,
        descriptors: Descriptors | None = None,
        accounts: Accounts | None = None,
        recorder: RefusalRecorder | None = None,
    ) -> None:
        self._store = store
        self.accounts = accounts = accounts or Accounts()
        self._presence = presence
        self.refusals = Refusals(recorder, authenticator.refusal_log)
        self.counters = Counters()
        self.scheduler = Scheduler(asyncio.get_running_loop(), store)
        self.subscriptions = SubscriptionTrie()
        clock = clock or SteadyClock()
        self.retained = RetainedMessages(accounts, max_per_owner=limits.max_retained, clock=clock)
        self._bounds = bounds = BoundLog(self.counters)
        applications = ApplicationShares(limits, bounds)
        self._routes = routes = RouteCache(self.subscriptions, self.scheduler.work)
        delivery = Delivery(limits, store, self.retained, topic_authorizer, self.counters, clock)
        self._topic_queues = TopicQueues(self.scheduler.work)
        self.router = Router(
            self.subscriptions, routes, self._topic_queues, delivery, topic_authorizer, self.counters, clock
        )
        self.publisher = PublishHandler(limits, self.router, self.retained, store, observer, self.counters, bounds)
        self.wills = PendingWills(
            limits, self.publisher, store, topic_authorizer, clock, self.scheduler.work, authenticator.principal_of
        )
        self.sessions = Sessions(
            limits,
            self.subscriptions,
            routes,
            delivery,
            store,
            self.scheduler.work,
            clock,
            accounts,
            applications,
            self.wills,
        )
        self._connect_handler = ConnectHandler(
            Admission(limits, authenticator, connect_authorizer, self.sessions, bounds, applications),
            self.sessions,
            self.publisher,
            store,
            self.scheduler.work,
            self.scheduler.connects,
            observer,
            self.counters,
            presence,
            wills=self.wills,
            limits=limits,
            refusals=self.refusals,
        )
        self.connections = ConnectionLimits(
            limits,
            bounds,
            self.scheduler,
            descriptors or Descriptors(),
            self.scheduler.connects.make_room,
            self.refusals,
        )
        self._lingering = Lingering(bounds)
        self._held_back = HeldBackConnections(accounts, self.sessions)
        self._rates = DeviceRates(limits, self.counters, self.scheduler.loop)
        self._delivery = delivery
        self.parts = ConnectionParts(
            limits=limits,
            scheduler=self.scheduler,
            store=store,
            router=self.router,
            delivery=delivery,
            observer=observer,
            topic_authorizer=topic_authorizer,
            connections=self.connections,
            applications=applications,
            rates=self._rates,
            held_back=self._held_back,
            lingering=self._lingering,
            bounds=bounds,
            refusals=self.refusals,
            clock=clock,
            mqtt_5=Codec5(
                PropertyLimits(
                    max_properties=limits.max_properties,
                    max_property_bytes=limits.max_property_bytes,
                    max_user_properties=limits.max_user_properties,
                    max_topic_aliases=limits.max_topic_aliases,
                )
            ),
            on_connect=self._connect_handler,
            on_publish=self.publisher,
            on_subscribe=SubscribeHandler(
                limits, self.sessions, delivery, store, observer, topic_authorizer, bounds, applications
            ),
            on_acknowledge=AcknowledgeHandler(delivery, store),
        )
        self.owners = Owners(
            self.sessions, self.retained, store, self._connect_handler, self.wills, self.scheduler.work
        )
        authenticator.on_revoked(self.owners.revoke)
        authenticator.on_rescoped(routes.scope_changed)
        authenticator.on_disabled(self.owners.discard_wills)
        authenticator.on_ended(self.owners.forget)

    def connection(self, listener: str, *, is_websocket: bool) -> Connection | WebSocket:
        """Return the protocol for a socket that a listener accepted."""
        connection = Connection(self.parts, listener, is_websocket=is_websocket)
        if not is_websocket:
            return connection
        return WebSocket(connection, self.connections, self.scheduler, self._bounds)

    async def start(self) -> None:
        """Restore what was stored, and start the timers. Raises `sqlite3.Error`, `StoreError`."""
        stored = self._store.load()
        for kept in stored.retained:
            self.retained.restore(kept)
        self.sessions.restore(stored.sessions)
        self.accounts.memory.add_source(self._unowned)
        self.accounts.memory.settle()
        self.accounts.disk.settle()
        self.scheduler.start(
            self._held_back.look,
            self.connections.expire,
            self._lingering.expire,
            self.sessions.expire,
            self.wills.expire,
            self._expire_retained,
            self._rates.expire,
        )
        if self._presence is not None:
            await self._presence.start()

    def _unowned(self) -> dict[str, int]:
        """Return the memory that no owner is charged for; each kind has a bound of its own."""
        return {
            "pending": self.connections.pending_bytes,
            "routes": self._routes.bytes,
            "store": self._store.own_bytes,
        }

    def _expire_retained(self, now: float) -> None:
        """Remove retained messages that may no longer be delivered, a few at a time."""
        del now
        for kept in self.retained.expired():
            self.retained.drop(kept.topic)
            if kept.is_lasting:
                self._store.drop_retained(kept.topic, kept)

    async def stop(self) -> None:
        """Close every connection, and publish wills to queues and as retained messages (3.1.2-8)."""
        self.scheduler.stop()
        self.connections.close_all()
        for session in list(self.sessions):
            if session.connection is not None:
                # Only taps remain; they receive the wills too.
                session.connection.close(Reason.SERVER_SHUTTING_DOWN)
        await self._connect_handler.close()
        await self.wills.close()
        await self._topic_queues.settle()
        await self._lingering.settle()

    async def close(self) -> None:
        """Record the disconnections and commit pending writes; call it after `stop`."""
        if self._presence is not None:
            await self._presence.close()
        await self._store.close()
