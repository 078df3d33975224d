"""amqtt's configuration, plugins, events and context, as amqtt documents them, in the bundled broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import ApplicationScope
from tests.integration.broker.amqtt_plugins import BANNED, BROKEN, SLOW, HourOfTheDay, Recorder
from tests.integration.broker.broker_rig import PLUGINS, running
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


def _names() -> list[str]:
    return [name for name, _ in Recorder.events if not name.startswith("packet")]


def test_events_and_context(tmp_path: Path) -> None:
    """A plugin hears what happens, in order, and may look, publish and retain through its context."""
    with running(tmp_path, {f"{PLUGINS}.Recorder": {}}) as (broker, hosted):
        device = broker.device()
        topic = f"devices/{device.client_id}/state"
        with broker.client(device) as client:
            client.subscribe(topic)
            client.publish(topic, b"kept", retain=True)
            assert client.hears(topic, b"kept")
            context = Recorder.context_seen
            assert [session.client_id for session in context.sessions] == [device.client_id]
            session = context.get_session(device.client_id)
            assert session is not None
            assert session.username == device.key
            assert session.transitions.is_connected()
            assert [subscribed.client_id for subscribed, _ in context.subscriptions[topic]] == [device.client_id]
            assert context.retained_messages[topic].data == b"kept"
            loop = hosted.core.scheduler.loop
            asyncio.run_coroutine_threadsafe(context.broadcast_message(topic, b"from the plugin"), loop).result(5)
            assert client.hears(topic, b"from the plugin")
            client.unsubscribe(topic)
        wanted = ["connected", "subscribed", "received", "broadcast", "retained", "unsubscribed", "disconnected"]
        assert eventually(lambda: sorted(_names()) == sorted(wanted))
        assert _names()[0] == "connected"
        packets = [arguments["packet"] for name, arguments in Recorder.events if name == "packet_received"]
        assert type(packets[0]).__name__ == "ConnectPacket"
        assert device.secret not in repr(vars(packets[0].payload))


@pytest.mark.filterwarnings("ignore:.*psutil.*:DeprecationWarning")
def test_packaged_plugins(tmp_path: Path) -> None:
    """`$SYS`, the event log and the packet log run, and `$SYS` reaches whose scope names it, and nobody else."""
    plugins = {
        "amqtt.plugins.sys.broker.BrokerSysPlugin": {"sys_interval": 1},
        "amqtt.plugins.logging_amqtt.EventLoggerPlugin": {},
        "amqtt.plugins.logging_amqtt.PacketLoggerPlugin": {},
    }
    with running(tmp_path, plugins) as (broker, _):
        device, watcher = (
            broker.device(),
            broker.application(ApplicationScope(all_devices=True, subscribe=("$SYS/#",), publish=())),
        )
        with broker.client(device) as client, broker.client(watcher) as watching:
            assert client.subscribe("$SYS/#") == [0x80]
            assert watching.subscribe("$SYS/#") == [1]
            assert eventually(lambda: "$SYS/broker/clients/connected" in {topic for topic, _ in watching.heard})
            assert ("$SYS/broker/clients/connected", b"2") in watching.heard
            assert client.heard == []


def test_other_topic_plugin(tmp_path: Path) -> None:
    """It is asked in addition, for each direction; one that waits or fails refuses."""
    with running(tmp_path, {f"{PLUGINS}.TopicCensor": {}}) as (broker, _):
        device = broker.device()
        own = f"devices/{device.client_id}"
        with broker.client(device) as client, broker.client(broker.application()) as backend:
            filters = [f"{own}/{name}" for name in ("free", BANNED, SLOW, BROKEN, "unheard")]
            assert client.subscribe(*filters) == [1, 0x80, 0x80, 0x80, 1]
            backend.subscribe(f"{own}/#")
            for topic in filters:
                for qos in (0, 1):
                    client.publish(topic, f"{qos}", qos=qos, retain=True)
            for heard in (client, backend):
                assert heard.hears(f"{own}/free", b"1")
                assert {topic for topic, _ in heard.heard} == {f"{own}/free"}
        with broker.client(broker.application()) as later:
            later.subscribe(f"{own}/#")
            assert later.hears(f"{own}/free", b"1")
            assert {topic for topic, _ in later.heard} == {f"{own}/free"}


def test_other_topic_plugin_cannot_allow(tmp_path: Path) -> None:
    """What the scope refuses stays refused, whatever another plugin says."""
    with running(tmp_path, {f"{PLUGINS}.TopicCensor": {}}) as (broker, _):
        device, other = broker.device(), broker.device()
        with broker.client(device) as client:
            assert client.subscribe(f"devices/{other.client_id}/x") == [0x80]


@pytest.mark.parametrize("is_shut_out", [False, True])
def test_other_auth_plugin(tmp_path: Path, *, is_shut_out: bool) -> None:
    """It is asked in addition, and may take its time; a wrong secret stays wrong."""
    with running(tmp_path, {f"{PLUGINS}.HourOfTheDay": {}}) as (broker, _):
        device = broker.device()
        if is_shut_out:
            HourOfTheDay.shut_out = device.key
        with broker.client(device) as client:
            assert client.return_code == (5 if is_shut_out else 0)
        with broker.client(device, secret="0" * 64) as client:
            assert client.return_code == 5
