"""Topics that begin with `$` (4.7.2): in a broker that has some, which `fleetkey serve` has not."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fleetkey.access import build_authenticator, build_worker_pool, hash_secret, new_secret
from fleetkey.broker import FleetkeyBroker, Limits, ListenerName, broker_config
from fleetkey.config import Settings
from fleetkey.registry import ApplicationScope, new_access_key, open_store
from tests.support.packets import connect
from tests.support.streams import TcpStream
from tests.support.versions import EACH_VERSION
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION

TOPICS = ["$SYS", "$SYS/broker/clients", "$SYS/broker/", "$other/x", "$/x", "$"]
BEGIN_WITH_A_WILDCARD = ["#", "+", "+/#", "+/+", "+/broker/#", "+/broker/+", "+/x", "+/+/+"]


@asynccontextmanager
async def _broker(folder: Path) -> AsyncIterator[tuple[FleetkeyBroker, int, bytes]]:
    """Run a broker on this loop; yields it, its port, and a CONNECT that reaches `#` and every `$` topic."""
    settings = Settings.model_validate({"data_dir": folder, "mqtt": {"bind": "127.0.0.1:0"}})
    store, pool = open_store(settings), build_worker_pool(settings)
    authenticator = build_authenticator(settings, store, pool)
    key, secret = new_access_key(), new_secret()
    dollar = tuple(dict.fromkeys(topic.partition("/")[0] + "/#" for topic in TOPICS))
    scope = ApplicationScope(publish=("#", *dollar), subscribe=("#", *dollar))
    store.create_application_key(key=key, secret_hash=hash_secret(secret, 4), name="t", scope=scope, actor="test")
    config, limits = broker_config(settings.mqtt, authenticator), Limits.from_settings(settings.mqtt)
    broker = FleetkeyBroker(config, authenticator, limits, folder / "broker.db")
    await broker.start()
    try:
        port = broker.port_of(ListenerName.TCP)
        assert port is not None
        yield broker, port, connect("", key, secret.reveal())
    finally:
        await broker.shutdown()
        await authenticator.close()
        pool.close()
        store.close()


async def test_wildcards_at_the_beginning(tmp_path: Path) -> None:
    """A filter that begins with a wildcard gets no topic that begins with `$`, live or retained (4.7.2-1).

    MQTT 5: 4.7.2-1.
    """

    def client(filters: list[str]) -> Wire:
        wire = Wire(TcpStream(port))
        stack.callback(wire.close)
        assert wire.log_in(hello) == 0
        assert wire.subscribe(*filters, qos=1) == [1] * len(filters)
        return wire

    with ExitStack() as stack:
        async with _broker(tmp_path) as (broker, port, hello):
            live = await asyncio.to_thread(client, BEGIN_WITH_A_WILDCARD)
            named = await asyncio.to_thread(client, ["$SYS/#", "$other/+", "$/#", "$/+"])
            for topic in TOPICS:
                await broker.internal_message_broadcast(topic, b"live", 1)
                await broker.retain_message(None, topic, b"kept", 1)
            await broker.internal_message_broadcast("x", b"plain", 1)
            later = await asyncio.to_thread(client, BEGIN_WITH_A_WILDCARD)
            exact = await asyncio.to_thread(client, ["$SYS/+/clients", "$SYS/#", "$other/x"])
            assert [got.topic for got in await asyncio.to_thread(live.publications)] == ["x"]
            assert [got.topic for got in await asyncio.to_thread(named.publications)] == [*TOPICS[:5], "$"]
            assert await asyncio.to_thread(later.publications) == []
            got = await asyncio.to_thread(exact.publications)
            assert sorted((message.topic, message.payload, message.retain) for message in got) == sorted(
                (topic, b"kept", True) for topic in ["$SYS/broker/clients", *TOPICS[:4]]
            )


def test_dollar_topics_of_clients(mqtt: Clients) -> None:
    """Clients don't make `$` topics, whatever their scope: it is acknowledged and goes nowhere (4.7.2)."""
    scope = ("#", *dict.fromkeys(topic.partition("/")[0] + "/#" for topic in TOPICS))
    key = mqtt.fleet.application(publish=scope, subscribe=scope)
    wire = mqtt.connect(key=key)
    assert wire.subscribe("+/#", *scope, qos=1) == [1] * (len(scope) + 1)
    for topic in TOPICS:
        wire.publish(topic, qos=1, retain=True)
        mqtt.send(topic, qos=1, retain=True)
    assert wire.publications() == []
    wire.subscribe("+/#", *scope, qos=1)
    assert wire.publications() == []
