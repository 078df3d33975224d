"""amqtt's configuration from Fleetkey's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqtt.contexts import BrokerConfig

from fleetkey.broker.listeners import ListenerName
from fleetkey.config import parse_address

if TYPE_CHECKING:
    from fleetkey.access import Authenticator
    from fleetkey.config import MqttSettings

__all__ = ["broker_config"]

PLUGIN = "fleetkey.auth_plugin.FleetkeyAuthPlugin"


def broker_config(settings: MqttSettings, authenticator: Authenticator) -> BrokerConfig:
    """Return the configuration of a broker whose only plugin asks `authenticator`."""
    # amqtt requires a listener named `default`, from which the others inherit; without a bind address it doesn't
    # listen.
    listeners: dict[str, dict[str, Any]] = {"default": {"bind": None, "max_connections": 0}}
    tls: dict[str, Any] = {"ssl": True, "certfile": settings.tls_cert, "keyfile": settings.tls_key}
    if settings.bind:
        listeners[ListenerName.TCP] = {"type": "tcp", "bind": _bind(settings.bind)}
    if settings.tls_bind:
        listeners[ListenerName.TLS] = {"type": "tcp", "bind": _bind(settings.tls_bind), **tls}
    if settings.ws_bind:
        secure = tls if settings.tls_cert is not None else {}
        listeners[ListenerName.WEBSOCKET] = {"type": "ws", "bind": _bind(settings.ws_bind), **secure}
    return BrokerConfig.from_dict({"listeners": listeners, "plugins": {PLUGIN: {"authenticator": authenticator}}})


def _bind(text: str) -> str:
    address = parse_address(text)
    return f"{address.host}:{address.port}"
