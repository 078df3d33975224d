"""Handlers for each kind of packet."""

from fleetkey.broker.handlers.acknowledge import AcknowledgeHandler
from fleetkey.broker.handlers.connect import ConnectHandler
from fleetkey.broker.handlers.publish import PublishHandler
from fleetkey.broker.handlers.subscribe import SubscribeHandler

__all__ = ["AcknowledgeHandler", "ConnectHandler", "PublishHandler", "SubscribeHandler"]
