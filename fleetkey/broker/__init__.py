"""The bundled broker, and the protocol for any other engine."""

from fleetkey.broker.accounts import Accounts
from fleetkey.broker.amqtt import BundledEngine, FleetkeyBroker, broker_config
from fleetkey.broker.counters import Counters
from fleetkey.broker.engine import BrokerEngine, EngineCounters, EngineError
from fleetkey.broker.engine_deadline import DeadlineEngine
from fleetkey.broker.limits import Limits
from fleetkey.broker.listeners import ListenerError, ListenerName
from fleetkey.broker.presence import PresenceRecorder
from fleetkey.broker.store import check_broker_database

__all__ = [
    "Accounts",
    "BrokerEngine",
    "BundledEngine",
    "Counters",
    "DeadlineEngine",
    "EngineCounters",
    "EngineError",
    "FleetkeyBroker",
    "Limits",
    "ListenerError",
    "ListenerName",
    "PresenceRecorder",
    "broker_config",
    "check_broker_database",
]
