"""The bundled broker through `BrokerEngine`, which is all that `serve`, metrics and health know of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fleetkey.broker import BrokerEngine, BundledEngine
from fleetkey.broker.codec import Reason
from fleetkey.broker.listeners import ListenerName
from fleetkey.broker.tap import MAX_TAPPED_MESSAGES
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.registry import StoreError
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import MqttClient
from tests.support.packets import Will
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from fleetkey.broker.engine import TappedMessage

SECONDS = 10


class Rig:
    """A server in this process, its engine, and a device of its fleet."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        engine = server.runtime._engine
        assert engine is not None
        self.engine: BrokerEngine = engine
        server.store.add_serials(["S1"], actor="test")
        answer = httpx.post(f"{server.http_url}/register", json={"serial": "S1"}, verify=NOBODY_TRUSTED).json()
        the_ledger().note_secret(answer["secret"])
        self._answer: dict[str, Any] = answer
        self.device_id = str(answer["deviceId"])

    def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait for the engine's answer."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.server.runtime._loop).result(SECONDS)

    def topic(self, rest: str) -> str:
        """Return one of the device's topics."""
        return f"devices/{self.device_id}/{rest}"

    def client(self, **options: Any) -> MqttClient:
        """Return the device's client, not connected yet."""
        answer = self._answer
        return MqttClient(
            port=self.server.mqtt_port(),
            client_id=answer["deviceId"],
            key=answer["key"],
            secret=answer["secret"],
            **options,
        )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Serve a fleet."""
    file = tmp_path / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\nws_bind = '127.0.0.1:0'\n")
    with EmbeddedServer(load_settings(file, {"data_dir": tmp_path / "data"})) as server:
        yield Rig(server)


def test_stop_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an engine doesn't stop in time, the rest is closed all the same: the fleet can be served again."""
    stop = BundledEngine.stop

    async def stop_and_hang(engine: BundledEngine) -> None:
        await stop(engine)
        await asyncio.Event().wait()

    file = tmp_path / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\nws_bind = ''\n")
    settings = load_settings(file, {"data_dir": tmp_path / "data"})
    with monkeypatch.context() as patched:
        patched.setattr("fleetkey.broker.engine_deadline.STOP_SECONDS", 1.0)
        patched.setattr(BundledEngine, "stop", stop_and_hang)
        with EmbeddedServer(settings) as server:
            store = server.store
    with pytest.raises(StoreError):
        store.ping()
    with EmbeddedServer(settings) as server:
        assert server.runtime._engine is not None


def test_what_it_says(rig: Rig) -> None:
    """Listeners, who is connected, sessions, what waits and what is retained, and the counts."""
    assert rig.ask(rig.engine.listeners()).keys() == {ListenerName.TCP, ListenerName.WEBSOCKET}
    assert rig.ask(rig.engine.can_store())
    with rig.client(clean=False) as client:
        assert client.subscribe(rig.topic("command")) == [1]
        assert client.publish(rig.topic("door"), b"open", retain=True)
        assert rig.ask(rig.engine.connected()) == {rig.device_id}
        (session,) = rig.ask(rig.engine.sessions_of(rig.device_id))
        assert (session.client_id, session.owner, session.is_connected) == (rig.device_id, rig.device_id, True)
        assert (session.address, session.filters) == ("127.0.0.1", (rig.topic("command"),))
    assert eventually(lambda: rig.ask(rig.engine.connected()) == set())
    kept = rig.ask(rig.engine.messages_of(rig.device_id))
    assert (kept.retained, kept.retained_bytes, kept.queued) == (1, 4, 0)
    counted = rig.ask(rig.engine.counters())
    assert (counted.sessions, counted.retained, counted.connects, counted.messages_received) == (1, 1, 1, 1)
    assert rig.ask(rig.engine.owners()) == {rig.device_id}


@pytest.mark.parametrize("sends_will", [True, False])
def test_disconnect(rig: Rig, *, sends_will: bool) -> None:
    """An owner's connections are closed, with or without their wills."""
    with rig.client(will=Will(rig.topic("will"), b"gone", qos=1, retain=True)) as client:
        assert rig.ask(rig.engine.disconnect(rig.device_id, Reason.REVOKED, sends_will=sends_will)) == 1
        assert client.is_disconnected_within(2)
    assert rig.ask(rig.engine.messages_of(rig.device_id)).retained == int(sends_will)
    assert rig.ask(rig.engine.disconnect(rig.device_id, Reason.REVOKED, sends_will=sends_will)) == 0


def test_forget(rig: Rig) -> None:
    """Nothing is left of an owner."""
    with rig.client(clean=False) as client:
        assert client.publish(rig.topic("door"), b"open", retain=True)
        rig.ask(rig.engine.forget(rig.device_id))
        assert client.is_disconnected_within(2)
    assert rig.ask(rig.engine.owners()) == set()
    assert rig.ask(rig.engine.sessions_of(rig.device_id)) == []


def test_tap(rig: Rig) -> None:
    """Who listens to a device's topics gets what is retained and what is published there, and nothing after the end."""

    async def begin() -> AsyncIterator[TappedMessage]:
        return rig.engine.tap([rig.topic("#")])

    with rig.client() as client:
        assert client.publish(rig.topic("door"), b"open", retain=True)
        tapped = rig.ask(begin())
        first = rig.ask(anext(tapped))
        assert (first.topic, first.payload) == (rig.topic("door"), b"open")
        assert client.publish(rig.topic("state"), b"1")
        second = rig.ask(anext(tapped))
        assert (second.topic, second.payload, second.missed) == (rig.topic("state"), b"1", 0)
        for number in range(MAX_TAPPED_MESSAGES + 5):
            assert client.publish(rig.topic("state"), b"%d" % number)
        third = rig.ask(anext(tapped))
        assert (third.payload, third.missed) == (b"5", 5)
        assert rig.ask(rig.engine.counters()).sessions == 2
        rig.ask(tapped.aclose())
        assert rig.ask(rig.engine.counters()).sessions == 1
