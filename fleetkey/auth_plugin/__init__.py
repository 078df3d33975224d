"""Adapters through which a broker uses `access`; the amqtt plugin is the first."""

from fleetkey.auth_plugin.amqtt_plugin import FleetkeyAuthPlugin
from fleetkey.auth_plugin.session_principal import principal_of, refusal_of

__all__ = ["FleetkeyAuthPlugin", "principal_of", "refusal_of"]
