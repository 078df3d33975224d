"""The broker's parts that each connection uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.broker.codec import MQTT_5, Codec5
from fleetkey.broker.refusals import Refusals
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from fleetkey.broker.application_shares import ApplicationShares
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.connection_limits import ConnectionLimits
    from fleetkey.broker.delivery import Delivery
    from fleetkey.broker.device_rates import DeviceRates
    from fleetkey.broker.handlers import AcknowledgeHandler, ConnectHandler, PublishHandler, SubscribeHandler
    from fleetkey.broker.held_back import HeldBackConnections
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.lingering import Lingering
    from fleetkey.broker.ports import BrokerObserver, TopicAuthorizer
    from fleetkey.broker.router import Router
    from fleetkey.broker.scheduler import Scheduler
    from fleetkey.broker.store import BrokerStore

__all__ = ["ConnectionParts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParts:
    """The broker's parts that connections use; shared, so that each connection holds a single reference."""

    limits: Limits
    scheduler: Scheduler
    store: BrokerStore
    router: Router
    delivery: Delivery
    observer: BrokerObserver
    topic_authorizer: TopicAuthorizer
    connections: ConnectionLimits
    applications: ApplicationShares
    rates: DeviceRates
    held_back: HeldBackConnections
    lingering: Lingering
    bounds: BoundLog
    refusals: Refusals = field(default_factory=Refusals)
    clock: SteadyClock = field(default_factory=SteadyClock)
    """Times the expiry of messages."""
    mqtt_5: Codec5 = MQTT_5
    """With the limits on properties."""
    on_connect: ConnectHandler
    on_publish: PublishHandler
    on_subscribe: SubscribeHandler
    on_acknowledge: AcknowledgeHandler
