"""The bundled broker: amqtt, with every promise about who may do what kept."""

from fleetkey.broker.configuration import ListenerError, ListenerName, broker_config
from fleetkey.broker.counters import Counters
from fleetkey.broker.fleetkey_broker import FleetkeyBroker
from fleetkey.broker.limits import Limits
from fleetkey.broker.presence import PresenceRecorder
from fleetkey.broker.schema import check_broker_database

__all__ = [
    "Counters",
    "FleetkeyBroker",
    "Limits",
    "ListenerError",
    "ListenerName",
    "PresenceRecorder",
    "broker_config",
    "check_broker_database",
]
