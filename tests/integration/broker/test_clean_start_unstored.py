"""A clean start while nothing can be stored: refused until the older session is forgotten for good (3.1.2-6)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.broker.amqtt_plugins import Recorder
from tests.integration.broker.broker_rig import PLUGINS, running
from tests.support.mqtt_client import MqttClient
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.broker import FleetkeyBroker
    from tests.integration.auth_plugin.plain_broker import PlainBroker
    from tests.support.fleet import Credentials

SERVER_UNAVAILABLE = 3


@contextmanager
def _unstored(broker: PlainBroker, hosted: FleetkeyBroker) -> Iterator[None]:
    """Let nothing be stored: somebody else writes."""

    async def lose_patience() -> None:
        hosted._store._connection.execute("PRAGMA busy_timeout = 0")

    asyncio.run_coroutine_threadsafe(lose_patience(), hosted.core.scheduler.loop).result(10)
    with closing(sqlite3.connect(broker.data_dir / "broker.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _code(broker: PlainBroker, who: Credentials, *, clean: bool) -> int | None:
    with MqttClient(port=broker.port, client_id=who.client_id, key=who.key, secret=who.secret, clean=clean) as client:
        return client.return_code


def _stored(broker: PlainBroker) -> list[str]:
    with closing(sqlite3.connect(broker.data_dir / "broker.db")) as look:
        return [row[0] for row in look.execute("SELECT client_id FROM sessions")]


def _is_away(hosted: FleetkeyBroker, client_id: str) -> bool:
    """Whether a client's session is kept without it, and stored so: until then the store may fail by itself."""
    session = hosted.core.sessions.get(client_id)
    is_stored = hosted._store.committed == hosted._store.position
    return session is not None and session.connection is None and is_stored


@pytest.mark.parametrize("again_clean", [True, False], ids=["clean", "kept"])
def test_tried_again(tmp_path: Path, *, again_clean: bool) -> None:
    """However often it is tried; nobody is told of connections that never were, and then it is let in."""
    with running(tmp_path, {f"{PLUGINS}.Recorder": {}}) as (broker, hosted):
        device = broker.device()
        assert _code(broker, device, clean=False) == 0
        assert eventually(lambda: _is_away(hosted, device.client_id))
        assert _stored(broker) == [device.client_id]
        with _unstored(broker, hosted):
            assert _code(broker, device, clean=True) == SERVER_UNAVAILABLE
            noted = hosted._store.position
            for _ in range(3):
                assert _code(broker, device, clean=again_clean) == SERVER_UNAVAILABLE
            assert _stored(broker) == [device.client_id]
            assert hosted._store.position == noted
        assert eventually(lambda: not hosted._store.is_failing)
        with MqttClient(
            port=broker.port, client_id=device.client_id, key=device.key, secret=device.secret, clean=again_clean
        ) as client:
            assert client.return_code == 0
            assert not client.is_session_present
            assert eventually(lambda: _stored(broker) == ([] if again_clean else [device.client_id]))

        def told() -> Counter[str]:
            return Counter(name for name, _ in list(Recorder.events) if not name.startswith("packet"))

        assert eventually(lambda: told() == {"connected": 2, "disconnected": 2})
        assert hosted.core.counters.disconnections.total() == 2
