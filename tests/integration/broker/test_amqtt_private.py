"""What amqtt keeps to itself and the host relies on: when a release changes it, this fails and not a promise."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from amqtt.broker import Broker
from amqtt.events import MQTTEvents

from fleetkey.auth_plugin import FleetkeyAuthPlugin
from fleetkey.broker.amqtt.private import auth_plugins_of, heard_events_of, topic_plugins_of
from tests.integration.broker.amqtt_plugins import PacketCounter
from tests.integration.broker.broker_rig import PLUGINS, running

if TYPE_CHECKING:
    from pathlib import Path


def test_plugins_of_the_manager(tmp_path: Path) -> None:
    """The manager's plugins are found: those that decide, and what the others listen to."""
    with running(tmp_path, {f"{PLUGINS}.{PacketCounter.__name__}": {}}) as (_, hosted):
        manager = hosted.plugins_manager
        assert [type(plugin) for plugin in auth_plugins_of(manager)] == [FleetkeyAuthPlugin]
        assert [type(plugin) for plugin in topic_plugins_of(manager)] == [FleetkeyAuthPlugin]
        assert heard_events_of(manager) == {MQTTEvents.PACKET_RECEIVED}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("start", ["self"]),
        ("shutdown", ["self"]),
        ("_start_listeners", ["self"]),
        ("internal_message_broadcast", ["self", "topic", "data", "qos"]),
        ("retain_message", ["self", "source_session", "topic_name", "data", "qos"]),
        ("create_offline_session", ["self", "client_id"]),
        ("add_subscription", ["self", "subscription", "session"]),
    ],
)
def test_overridden_methods(name: str, parameters: list[str]) -> None:
    """What the host puts its own in place of is there, and is called like this."""
    assert list(inspect.signature(getattr(Broker, name)).parameters) == parameters


def test_used_helpers() -> None:
    """What the host calls of amqtt's own."""
    assert Broker._split_bindaddr_port("127.0.0.1:1883", 1) == ("127.0.0.1", 1883)
    assert list(inspect.signature(Broker._create_ssl_context).parameters) == ["listener"]
    # The listeners are opened by it, and not for ever waited for.
    assert "_start_listeners" in inspect.getsource(Broker.start)
