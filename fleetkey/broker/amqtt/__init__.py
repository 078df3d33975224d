"""amqtt as the host of the bundled broker; nothing else in the broker imports it."""

from fleetkey.broker.amqtt.configuration import broker_config
from fleetkey.broker.amqtt.engine import BundledEngine
from fleetkey.broker.amqtt.host import FleetkeyBroker

__all__ = ["BundledEngine", "FleetkeyBroker", "broker_config"]
