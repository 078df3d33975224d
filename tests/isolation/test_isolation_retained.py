"""Retained messages reach who subscribed and may hear them, and only their owner changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.mqtt_client import REFUSED, Message
from tests.support.packets import Will

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mqtt_client import MqttClient
    from tests.support.scene import Scene


KEPT = b"kept"


@pytest.fixture
def kept(scene: Scene) -> Iterator[str]:
    """Let the victim keep a retained message, and clear it after the test."""
    topic = scene.victim.topic("kept")
    assert scene.victim_client.publish(topic, KEPT, retain=True)
    assert scene.observer.hears(topic, KEPT)
    yield topic
    assert scene.victim_client.publish(topic, b"", retain=True)


def _retained(scene: Scene, topic_filter: str) -> list[tuple[str, bytes]]:
    """Return what a new subscriber with every right gets as retained."""
    application = scene.fleet.application(subscribe=("#",), publish=("#",))
    with scene.fleet.connect(application) as client:
        assert client.subscribe(topic_filter, "end/#") == [1, 1]
        _end(client)
        return [(message.topic, message.payload) for message in client.messages if message.retain]


def _end(client: MqttClient, topic: str = "end/of/it") -> None:
    """Return when whatever was on its way has arrived."""
    assert client.publish(topic, b"end", qos=0)
    assert client.hears(topic, b"end")


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("payload", [b"forged", b""], ids=["set", "clear"])
def test_publish_foreign_retained(scene: Scene, kept: str, payload: bytes, qos: int) -> None:
    """Nobody else sets or clears a device's retained message; its own it can."""
    with scene.fleet.connect(scene.attacker) as client:
        client.publish(kept, payload, qos=qos, retain=True)
        client.publish(scene.victim.topic("new"), b"forged", qos=qos, retain=True)
        own = scene.attacker.topic("own")
        assert client.publish(own, b"mine", qos=qos, retain=True)
        assert _retained(scene, scene.victim.topic("#")) == [(kept, KEPT)]
        assert _retained(scene, scene.attacker.topic("#")) == [(own, b"mine")]
        assert client.publish(own, b"", qos=qos, retain=True)
        assert _retained(scene, scene.attacker.topic("#")) == []


def test_connect_foreign_retained_will(scene: Scene, kept: str) -> None:
    """A refused will leaves no retained message; an own one does when the connection breaks."""
    for topic in (kept, scene.victim.topic("new")):
        with scene.fleet.client(scene.attacker, will=Will(topic, b"forged", qos=1, retain=True)) as refused:
            assert refused.return_code == 5
    topic = scene.attacker.topic("gone")
    own = Will(topic, b"mine", qos=1, retain=True)
    with scene.fleet.connect(scene.attacker, will=own) as client:
        client.drop()
        assert scene.observer.hears(topic, own.payload)
    assert _retained(scene, scene.victim.topic("#")) == [(kept, KEPT)]
    assert _retained(scene, scene.attacker.topic("#")) == [(topic, own.payload)]


def test_subscribe_foreign_retained(scene: Scene, kept: str) -> None:
    """A subscriber gets its own retained messages and nobody else's, whatever else it asked for."""
    own = scene.attacker.topic("own")
    with scene.fleet.connect(scene.attacker) as client:
        assert client.publish(own, b"mine", retain=True)
        codes = client.subscribe("#", kept, "devices/+/kept", scene.attacker.topic("#"), scene.victim.topic("#"))
        assert codes == [REFUSED, REFUSED, REFUSED, 1, REFUSED]
        _end(client, scene.attacker.topic("end"))
        assert [message for message in client.messages if message.retain] == [Message(own, b"mine", 1, retain=True)]
        assert client.publish(own, b"", retain=True)
    assert (kept, KEPT) in _retained(scene, "#")


def test_reconnect_foreign_retained(scene: Scene, kept: str) -> None:
    """A session that goes on brings nobody else's retained message, though others are subscribed to them."""
    for _ in range(2):
        with scene.fleet.connect(scene.attacker, clean=False) as client:
            client.subscribe(scene.attacker.topic("#"), "#", kept)
            _end(client, scene.attacker.topic("end"))
            assert {topic for topic, _ in client.heard} == {scene.attacker.topic("end")}
    assert _retained(scene, kept) == [(kept, KEPT)]


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
@pytest.mark.parametrize("who", ["owner", "other_device", "application"])
def test_connect_without_subscription(scene: Scene, kept: str, who: str, *, clean: bool) -> None:
    """Without a subscription of its own nobody gets a retained message, though others are subscribed to it."""
    credentials = scene.fleet.device() if who == "other_device" else scene.fleet.application(subscribe=("#",))
    if who == "owner":
        scene.victim_client.close()
        credentials = scene.victim
    for _ in range(2):
        with scene.fleet.connect(credentials, clean=clean) as client:
            assert scene.observer.publish(kept, KEPT, qos=0)
            assert scene.observer.publish("end", b"", qos=0)
            client.unsubscribe("nothing")
            assert client.heard == []
    if who == "owner":
        scene.victim_client.connect()
    assert _retained(scene, kept) == [(kept, KEPT)]


def test_subscribe_after_unsubscribe(scene: Scene, kept: str) -> None:
    """A subscription that was given up brings nothing on the next connection; a new one does."""
    application = scene.fleet.application()
    with scene.fleet.connect(application, clean=False) as client:
        assert client.subscribe("devices/+/kept") == [1]
        assert client.hears(kept, KEPT)
        client.unsubscribe("devices/+/kept")
    with scene.fleet.connect(application, clean=False) as client:
        assert client.is_session_present
        client.unsubscribe("nothing")
        assert client.heard == []
        assert client.subscribe("devices/+/kept") == [1]
        assert client.hears(kept, KEPT)
