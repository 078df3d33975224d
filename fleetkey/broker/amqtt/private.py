"""amqtt's private attributes that Fleetkey needs; nothing else in Fleetkey reads them.

A test fails if a release of amqtt changes one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amqtt.broker import BrokerContext
    from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
    from amqtt.plugins.manager import PluginManager

__all__ = ["auth_plugins_of", "heard_events_of", "topic_plugins_of"]


def auth_plugins_of(manager: PluginManager[BrokerContext]) -> list[BaseAuthPlugin]:
    """Return the auth plugins in the configuration."""
    return list(manager._auth_plugins)  # noqa: SLF001


def topic_plugins_of(manager: PluginManager[BrokerContext]) -> list[BaseTopicPlugin]:
    """Return the topic plugins in the configuration."""
    return list(manager._topic_plugins)  # noqa: SLF001


def heard_events_of(manager: PluginManager[BrokerContext]) -> set[Any]:
    """Return the events that any plugin listens to."""
    return {name for name, callbacks in manager._event_plugin_callbacks.items() if callbacks}  # noqa: SLF001
